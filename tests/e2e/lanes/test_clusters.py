"""Lapse on a cluster of somebody else's behind TLS, and on another version of Kafka.

Each lane runs alone: `python -m pytest tests/e2e/lanes/test_clusters.py -k <word of its name>`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from lapse.broker import jars
from lapse.broker.certificate import examine
from lapse.broker.connection import BrokerAddress
from lapse.certificates import issue
from schemas.errors import BadInput, Refused
from tests.e2e.lanes.flow import bad, examined, opened_by_the_example, routed, system_on
from tests.e2e.live.system import System
from tests.support.lanes.cluster import Cluster, running_cluster
from tests.support.live import Live

pytestmark = [pytest.mark.e2e, pytest.mark.lane, pytest.mark.timeout(400)]

OLDER = "4.1.1"
"""The oldest line of Kafka that is still maintained."""


# ---- TLS ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker that speaks nothing but SCRAM over TLS, with a certificate for 127.0.0.1."""
    with running_cluster(tmp_path_factory.mktemp("tls"), security="SASL_SSL") as cluster:
        yield cluster


def test_tls_carries_every_client(tls: Cluster, tmp_path: Path) -> None:
    """With user, password and CA file a form goes through every role's client, and a consumer opens it.

    The consumer knows only run.json; doctor finds the cluster closed.
    """
    with system_on(tmp_path / "data", tls.environment) as system:
        assert system.run["security"]["protocol"] == "SASL_SSL"
        routed(system)
        assert any('"email"' in line for line in opened_by_the_example(system))
        system.quiet()
        assert bad(system) == {}
        assert examined(system)["broker closed"]["figure"] == "SASL_SSL"


def test_tls_of_another_authority_is_said_in_one_sentence(tls: Cluster, tmp_path: Path) -> None:
    """`up` ends at once with 3 and names the setting; a file without a certificate ends it with 2."""
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(issue(("127.0.0.1",), dt.datetime.now(dt.UTC)).authority)
    system = System(
        tmp_path / "data", Path(), environment=tls.environment | {"LAPSE_BOOTSTRAP_CA": str(wrong)}
    )
    code, said = refused(system)
    assert code == 3
    assert "untrusted_certificate: Kafka's certificate is not signed by the authority that was given" in said
    assert "LAPSE_BOOTSTRAP_CA" in said
    wrong.write_text("no certificate")
    code, said = refused(system)
    assert code == 2
    assert "LAPSE_BOOTSTRAP_CA must name a PEM file" in said


def test_tls_for_another_host_is_told_from_another_authority(tls: Cluster, tmp_path: Path) -> None:
    """The certificate is for 127.0.0.1: asked by another name it is refused for that reason."""
    elsewhere = tls.bootstrap.replace("127.0.0.1", "localhost")
    address = BrokerAddress(bootstrap=elsewhere, protocol="SSL", ca=tls.ca)
    with pytest.raises(Refused, match="for another host"):
        examine(address, timeout=5)
    with pytest.raises(BadInput):
        examine(BrokerAddress(bootstrap=elsewhere, protocol="SSL", ca=tmp_path / "nowhere.pem"), timeout=5)


def refused(system: Live) -> tuple[int, str]:
    """Exit code and words of an `up` that does not come up."""
    policy = Path(__file__).parents[1] / "live" / "policies" / "steady.yaml"
    done = system.lapse("up", "--port", "0", "--policy", str(policy), timeout=60, json_output=False)
    return done.code, done.err


# ---- another version ---------------------------------------------------------------------------------------
def test_kafka_4_1_carries_the_flow(tmp_path: Path) -> None:
    """The embedded broker from the jars of Kafka 4.1.1, on a log folder of its own, does what 4.3 does."""
    libs = jars.fetch(jars.default_libs({}).with_name(f"kafka-{OLDER}"), version=OLDER)
    assert list(libs.glob(f"kafka-clients-{OLDER}.jar"))
    with system_on(tmp_path / "data", {"LAPSE_KAFKA_LIBS": str(libs)}) as system:
        routed(system)
        assert any('"email"' in line for line in opened_by_the_example(system))
        system.quiet()
        assert bad(system) == {}
