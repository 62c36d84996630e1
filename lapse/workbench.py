"""What the stages of one worker are built from: the vault, Kafka as its role, and who is told of findings."""

from __future__ import annotations

import ssl

import structlog

from lapse.broker.connection import BrokerAddress
from lapse.initialise import signing_key
from lapse.main import Installation
from lapse.membership import gone, owner
from streams import metrics
from streams.engine import Engine, KafkaAccess
from streams.planbook import PlanBook
from streams.surroundings import Surroundings


def tls(address: BrokerAddress) -> dict[str, ssl.SSLContext]:
    """What aiokafka needs besides, where the cluster speaks TLS."""
    if not address.protocol.endswith("SSL"):
        return {}
    return {"ssl_context": ssl.create_default_context(cafile=str(address.ca) if address.ca else None)}


def finding(what: str, where: str, count: int = 1) -> None:
    """An anomaly that needs a person's eye: counted, and said in the log."""
    metrics.FINDINGS.labels(what).inc(count)
    structlog.get_logger("finding").warning("finding", what=what, where=where, count=count)


class Bench:
    """What the stages of one worker are built from."""

    def __init__(self, here: Installation, role: str) -> None:
        self.here, self.role, self.vault = here, role, here.vault
        self.plans = PlanBook(here.vault)

    @property
    def access(self) -> KafkaAccess:
        """Kafka, as this role."""
        address, user = self.here.address, self.here.user(self.role)
        return KafkaAccess(
            bootstrap=address.bootstrap,
            protocol=address.protocol,
            mechanism=address.mechanism or "SCRAM-SHA-512",
            username=user.username if user else None,
            password=user.password if user else None,
            ca=address.ca,
        )

    def around(self, engine: Engine) -> Surroundings:
        """What every stage is given."""
        return Surroundings(
            vault=self.vault,
            sink=engine.sink,
            partitions=self.here.runtime.partitions_of,
            service_key=signing_key(self.here.layout.service_key),
            pixel_keys=self.here.pixel_keys if self.role == "tag" else None,
            operators=self.here.operators(),
            finding=finding,
            work=engine.work,
            crash=self.here.crash,
            note=engine.wait_for,
            owner=owner(),
            gone=gone,
        )
