"""Policies, processors, requests, retention orders and the clock's memory at rest."""

import msgspec

from schemas.errors import Bug
from schemas.ids import Micros, RequestId
from vault.base import Base, one
from vault.tables import EPOCH_TURN, POLICY, PROCESSOR, REQUEST, RETENTION_ORDER
from vault.values import ClockState, PolicyRow, ProcessorState, RequestState, RetentionOrder

_CLOCK = "clock.state"
_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


class RegistryRows(Base):
    """`RegistryTx` over rows, but for holds."""

    def policies(self) -> list[PolicyRow]:
        """Return every published version, in order."""
        return [
            PolicyRow(version=version, effective=effective, sha256=sha256, body=body)
            for version, effective, sha256, body in self.rows.scan(POLICY, order=("version",))
        ]

    def policy_count(self) -> int:
        """Return how many versions there are."""
        return self.rows.count(POLICY)

    def put_policy(self, policy: PolicyRow) -> None:
        """Publish a version; `Bug` if the number exists with other content."""
        known = one(self.rows.find(POLICY, ("version",), [(policy.version,)]))
        if known is not None and known[2] != policy.sha256:
            raise Bug("bug", "a policy version is published twice", "policy")
        self.rows.put(POLICY, [(policy.version, policy.effective, policy.sha256, policy.body)])

    def retention_orders(self) -> list[RetentionOrder]:
        """Return every order, oldest first."""
        rows = self.rows.scan(RETENTION_ORDER, order=("at", "id"))
        return [_decode(row[2], type=RetentionOrder) for row in rows]

    def put_retention_order(self, order: RetentionOrder) -> None:
        """Keep an order."""
        self.rows.put(RETENTION_ORDER, [(order.command_id, order.at, _encode(order))])

    def processor(self, name: str) -> ProcessorState | None:
        """Return what control says of one processor."""
        row = one(self.rows.find(PROCESSOR, ("name",), [(name,)]))
        return None if row is None else _decode(row[1], type=ProcessorState)

    def processors(self) -> list[ProcessorState]:
        """Return what control says of all, by name."""
        return [_decode(row[1], type=ProcessorState) for row in self.rows.scan(PROCESSOR, order=("name",))]

    def put_processor(self, state: ProcessorState) -> None:
        """Replace what control says of one processor."""
        self.rows.put(PROCESSOR, [(state.name, _encode(state))])

    def request(self, request_id: RequestId) -> RequestState | None:
        """Return one data subject's request."""
        row = one(self.rows.find(REQUEST, ("id",), [(request_id,)]))
        return None if row is None else self._request(row[0], row[3])

    def requests(self, state: str | None = None) -> list[RequestState]:
        """Return requests, oldest first."""
        rows = self.rows.scan(
            REQUEST, () if state is None else [("state", "=", state)], order=("received_at", "id")
        )
        return [self._request(row[0], row[3]) for row in rows]

    def put_request(self, request: RequestState) -> None:
        """Replace one request."""
        sealed = self.seal_row(REQUEST, request.request_id, _encode(request))
        self.rows.put(REQUEST, [(request.request_id, request.state, request.received_at, sealed)])

    def drop_request(self, request_id: RequestId) -> None:
        """Forget one request."""
        self.rows.delete(REQUEST, ("id",), [(request_id,)])

    def _request(self, name: bytes, sealed: bytes) -> RequestState:
        return _decode(self.unseal_row(REQUEST, name, sealed), type=RequestState)

    def epoch_turns(self) -> list[tuple[int, Micros]]:
        """Return (epoch, when its key was destroyed)."""
        rows = self.rows.scan(EPOCH_TURN, [("at", "set", None)], order=("n",))
        return [(int(n), Micros(at)) for n, at in rows]

    def clock_state(self) -> ClockState:
        """Return what expiry remembers of its clock."""
        kept = self.meta(_CLOCK)
        return ClockState() if kept is None else _decode(kept, type=ClockState)

    def put_clock_state(self, state: ClockState) -> None:
        """Replace what expiry remembers of its clock."""
        self.put_meta(_CLOCK, _encode(state))
