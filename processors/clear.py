"""Clear records for consumers that cannot ask for keys: where they go, with which log-in, and their JSON."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from schemas.errors import BadInput
from schemas.models import Depersonalized, RecordOpened
from schemas.plan import ProcessorPlan
from schemas.times import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSettings:
    """Where clear records go, in which format; `client` are aiokafka's settings of that cluster."""

    topic: str
    avro: bool
    client: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls, plan: ProcessorPlan, ours: Mapping[str, Any], login_file: Path, *, allow_private: bool = False
    ) -> PlainSettings:
        """Return what the policy says; `ours` are the client settings of our own cluster.

        Another cluster needs a log-in's file and TLS: see `read_login`.
        """
        named = plan.kafka
        if named is None:
            return cls(topic=f"plain.{plan.name}", avro=False, client=ours)
        client = dict(ours)
        if named.bootstrap:
            client = {
                "bootstrap_servers": named.bootstrap.split(","),
                **read_login(login_file, allow_private=allow_private),
            }
        return cls(topic=named.topic, avro=named.format == "avro", client=client)


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How another cluster wants to be spoken to, in Kafka's own words; `ca` is a PEM file."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: str | None = None
    ca: str | None = None


def read_login(path: Path, *, allow_private: bool = False) -> dict[str, Any]:
    """Read `{protocol, mechanism?, username?, password?, ca?}` as aiokafka's settings.

    `BadInput` where there is no such file, or where clear records would leave unencrypted; only a test set-up
    (`allow_private`) may do that.
    """
    try:
        login = msgspec.json.decode(path.read_bytes(), type=Login)
        secure = login.protocol.endswith("SSL")
        context = ssl.create_default_context(cafile=login.ca) if secure else None
    except (msgspec.MsgspecError, OSError):
        what = "no log-in for that Kafka cluster, or its ca is missing"
        raise BadInput("bad_argument", what, str(path), "see docs/processors.md, A clear topic") from None
    if not secure and not allow_private:
        what = "clear records would leave unencrypted"
        raise BadInput("address_refused", what, str(path), "use the protocol SSL or SASL_SSL")
    return {
        "security_protocol": login.protocol,
        **({"ssl_context": context} if context else {}),
        **(
            {
                "sasl_mechanism": login.mechanism,
                "sasl_plain_username": login.username,
                "sasl_plain_password": login.password,
            }
            if login.mechanism
            else {}
        ),
    }


def opened_json(record: RecordOpened) -> bytes:
    """Return a clear record as JSON: ids in hex, times in RFC 3339."""
    return msgspec.json.encode(
        {
            "delivery_id": record.delivery_id.hex(),
            "subject_ref": record.subject_ref.hex(),
            "revision": record.revision,
            "source": record.source,
            "fields": record.fields,
            "purposes": [{"purpose": p.purpose, "use_until": rfc3339(p.use_until)} for p in record.purposes],
            "decided": record.decided,
            "opened_at": rfc3339(record.opened_at),
        }
    )


def lapse_json(lapse: Depersonalized) -> bytes:
    """Return a lapse as JSON: ids in hex, times in RFC 3339; `scope.type` names the kind of scope."""
    scope = msgspec.to_builtins(lapse.scope, builtin_types=(bytes,))
    return msgspec.json.encode(
        {
            "lapse_id": lapse.lapse_id.hex(),
            "cause": lapse.cause,
            "scope": {k: v.hex() if isinstance(v, bytes) else v for k, v in scope.items()},
            "reaches": lapse.reaches,
            "effective_at": rfc3339(lapse.effective_at),
            "answer_by": rfc3339(lapse.answer_by) if lapse.answer_by is not None else None,
        }
    )
