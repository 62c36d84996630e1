"""The part of `Tx` that keeps registers: policies, processors, requests, holds, vendors' objects, residue."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from schemas.ids import DeliveryId, Micros, RequestId, SubjectRef
from schemas.ids import Sequence as Seq
from vault.tasks import Held, State, Task, TaskKind
from vault.values import (
    BucketId,
    ClockState,
    HeldKey,
    Hold,
    PolicyRow,
    ProcessorState,
    RequestState,
    ResidueCell,
    ResidueEntry,
    RetentionOrder,
    VendorObject,
)


class RegistryTx(Protocol):
    """Policies, processors, requests, holds, clock and odd values."""

    def policies(self) -> list[PolicyRow]:
        """Return every published version, in order."""
        ...

    def policy_count(self) -> int:
        """Return how many versions there are: cheap enough for every chunk."""
        ...

    def put_policy(self, policy: PolicyRow) -> None:
        """Publish a version; `Bug` if the number exists with other content."""
        ...

    def retention_orders(self) -> list[RetentionOrder]:
        """Return every order, oldest first."""
        ...

    def put_retention_order(self, order: RetentionOrder) -> None:
        """Keep an order."""
        ...

    def processor(self, name: str) -> ProcessorState | None:
        """Return what control says of one processor."""
        ...

    def processors(self) -> list[ProcessorState]:
        """Return what control says of all, by name."""
        ...

    def put_processor(self, state: ProcessorState) -> None:
        """Replace what control says of one processor."""
        ...

    def request(self, request_id: RequestId) -> RequestState | None:
        """Return one data subject's request."""
        ...

    def requests(self, state: str | None = None) -> list[RequestState]:
        """Return requests, oldest first."""
        ...

    def put_request(self, request: RequestState) -> None:
        """Replace one request."""
        ...

    def drop_request(self, request_id: RequestId) -> None:
        """Forget one request."""
        ...

    def holds(self) -> list[Hold]:
        """Return holds, released ones too, by when they were placed."""
        ...

    def hold_keys(self, hold_id: bytes) -> list[HeldKey]:
        """Return every key that opens under a standing hold: escrowed, or of parents that still live."""
        ...

    def epoch_turns(self) -> list[tuple[int, Micros]]:
        """Return (epoch, when its key was destroyed): what ended before is beyond every older backup."""
        ...

    def clock_state(self) -> ClockState:
        """Return what expiry remembers of its clock."""
        ...

    def put_clock_state(self, state: ClockState) -> None:
        """Replace what expiry remembers of its clock."""
        ...

    def meta(self, key: str) -> bytes | None:
        """Return an odd value that has no table."""
        ...

    def metas_of(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the odd values of these names that are there."""
        ...

    def put_metas(self, values: Mapping[str, bytes | None]) -> None:
        """Replace odd values; None forgets one."""
        ...

    def metas(self, prefix: str) -> dict[str, bytes]:
        """Return the odd values whose names begin like this."""
        ...

    def put_meta(self, key: str, value: bytes | None) -> None:
        """Replace an odd value; None forgets it."""
        ...


class RecipientTx(Protocol):
    """What connectors keep of vendors' objects (model m5), and residue."""

    def objects(self, processor: str, refs: Iterable[bytes]) -> dict[bytes, VendorObject]:
        """Read objects with their holdings."""
        ...

    def put_objects(self, rows: Iterable[VendorObject]) -> None:
        """Write objects; each one's holdings are replaced as a set."""
        ...

    def drop_objects(self, processor: str, refs: Iterable[bytes]) -> None:
        """Forget objects and their holdings."""
        ...

    def objects_of_bucket(
        self, processor: str, bucket: BucketId, reaches: Seq, *, after: bytes = b"", limit: int = 500
    ) -> list[bytes]:
        """Return refs > `after`, ascending, with a living holding of the bucket decided before `reaches`."""
        ...

    def objects_of_subject(
        self,
        processor: str,
        subject_ref: SubjectRef,
        purposes: Sequence[str],
        reaches: Seq,
        *,
        after: bytes = b"",
        limit: int = 500,
    ) -> list[bytes]:
        """Return refs > `after`, ascending, with such a holding of that person and a purpose."""
        ...

    def objects_of_delivery(
        self, processor: str, delivery_id: DeliveryId, *, limit: int = 500
    ) -> list[bytes]:
        """Return refs with a holding of that delivery, in any state."""
        ...

    def objects_of_processor(self, processor: str, *, after: bytes = b"", limit: int = 500) -> list[bytes]:
        """Return all refs > `after`, ascending."""
        ...

    def objects_due(self, processor: str, now: Micros, limit: int) -> list[bytes]:
        """Return refs with `due` <= `now` (wall time), by due."""
        ...

    def objects_held(self, processor: str) -> tuple[int, int]:
        """Return how many objects there are, and how many holdings on them."""
        ...

    def objects_waiting(self, processor: str) -> int:
        """Return how many objects have a `due`."""
        ...

    def accepted(self) -> int | None:
        """Return how many events were ever counted; None in a vault that is older than this count."""
        ...

    def count_residue(self, entries: Iterable[ResidueEntry]) -> None:
        """Count accepted events into cells; people are kept as keyed tags until their cell is published."""
        ...

    def residue(self, period: str | None = None) -> list[ResidueCell]:
        """Return cells as counted so far."""
        ...

    def carry_residue(self, period: str, label: str, into: str) -> None:
        """Move a cell's events and people into another period's cell of the same label."""
        ...

    def drop_residue(self, period: str, label: str) -> None:
        """Forget a published cell and who was counted in it."""
        ...


class TaskTx(Protocol):
    """What processors have still to answer, and what somebody has to do because they did not."""

    def task(self, processor: str, about: bytes) -> Task | None:
        """Return one row."""
        ...

    def tasks_about(self, names: Iterable[tuple[str, bytes]]) -> list[Task]:
        """Return the rows of these (processor, about); unknown ones are left out."""
        ...

    def tasks(
        self, *, state: State | None = None, processor: str | None = None, limit: int = 1000
    ) -> list[Task]:
        """Return rows by due date, those longest due first."""
        ...

    def tasks_to_look_at(self, now: Micros, limit: int) -> list[Task]:
        """Return rows whose `look` has come, by it."""
        ...

    def count_tasks(self, state: State, processor: str, kind: TaskKind | None = None) -> int:
        """Return how many rows of a processor are in this state (and of this kind)."""
        ...

    def put_tasks(self, tasks: Iterable[Task]) -> None:
        """Write rows."""
        ...

    def drop_tasks(self, names: Iterable[tuple[str, bytes]]) -> None:
        """Forget rows."""
        ...

    def held(self, processor: str) -> list[Held]:
        """Return what a processor holds by purpose, as far as anybody here knows."""
        ...

    def count_objects(self, processor: str) -> int:
        """Return how many objects a connector keeps track of at a processor."""
        ...
