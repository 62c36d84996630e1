"""What the embedded broker is made from: jars, Java, settings, addresses; no Kafka is started here."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from lapse.broker import jars
from lapse.broker.connection import BrokerAddress, Credentials
from lapse.broker.node import Node, load_or_create
from lapse.broker.properties import render, server_properties
from schemas.errors import Unavailable

NODE = Node(
    cluster_id="abc",
    host="127.0.0.1",
    port=19092,
    controller_port=19093,
    broker_password="broker-secret",
    admin_password="admin-secret",
)


def test_every_listener_asks_for_a_password() -> None:
    """No protocol of the node is open, it listens where told, and unlisted users may do nothing."""
    properties = server_properties(NODE, Path("/data/log"))
    protocols = {pair.split(":")[1] for pair in properties["listener.security.protocol.map"].split(",")}
    assert protocols == {"SASL_PLAINTEXT"}
    assert all("//127.0.0.1:" in listener for listener in properties["listeners"].split(","))
    assert properties["authorizer.class.name"].endswith("StandardAuthorizer")
    assert properties.get("allow.everyone.if.no.acl.found", "false") == "false"
    assert properties["super.users"] == "User:broker;User:admin"


def test_settings_are_java_properties() -> None:
    """One line each; backslashes are doubled as Java's format wants."""
    assert render({"a": "1", "b": "C:\\x"}) == "a=1\nb=C:\\\\x\n"


def test_secrets_stay_out_of_representations() -> None:
    """Neither a node nor credentials show a password when printed."""
    login = Credentials(username="u", password="user-secret")
    assert "secret" not in repr(NODE) + str(NODE) + repr(login) + f"{login}"


def test_credentials_are_given_only_where_asked_for() -> None:
    """A cluster without a mechanism gets no password; a secured one gets it in each library's words."""
    login = Credentials(username="u", password="p")
    open_cluster = BrokerAddress(bootstrap="a:1,b:2")
    assert not open_cluster.secured
    assert "sasl.password" not in open_cluster.librdkafka(login)
    assert open_cluster.kafka_python(login)["bootstrap_servers"] == ["a:1", "b:2"]
    closed = BrokerAddress(
        bootstrap="a:1", protocol="SASL_SSL", mechanism="SCRAM-SHA-512", ca=Path("/ca.pem")
    )
    assert closed.secured
    assert closed.librdkafka(login)["sasl.password"] == "p"
    assert closed.librdkafka(login)["ssl.ca.location"] == "/ca.pem"
    assert closed.kafka_python(login)["sasl_plain_password"] == "p"
    assert closed.aiokafka(login)["sasl_plain_username"] == "u"
    assert "sasl.password" not in closed.librdkafka()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LAPSE_KAFKA_LIBS": "/libs", "HOME": "/home/x"}, "/libs"),
        ({"XDG_CACHE_HOME": "/cache", "HOME": "/home/x"}, f"/cache/lapse/kafka-{jars.kafka_version()}"),
        ({"HOME": "/home/x"}, f"/home/x/.cache/lapse/kafka-{jars.kafka_version()}"),
    ],
)
def test_jars_are_kept_once_per_user(environ: dict[str, str], expected: str) -> None:
    """The folder does not depend on the checkout or the data folder, and can be named."""
    assert jars.default_libs(environ) == Path(expected)


def test_without_maven_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is half fetched, and the error says what to install or to do instead."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="LAPSE_BOOTSTRAP") as error:
        jars.fetch(tmp_path / "libs")
    assert "maven" in error.value.do
    assert not jars.present(tmp_path / "libs")


def test_a_failing_maven_leaves_no_marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Maven said is passed on, and the next call tries again."""
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'no route to repository'\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(Unavailable, match="no route to repository"):
        jars.fetch(tmp_path / "libs")
    assert not jars.present(tmp_path / "libs")


@pytest.mark.parametrize(
    ("said", "fits"), [('openjdk version "17.0.2"', True), ('java version "1.8.0_292"', False)]
)
def test_java_is_judged_by_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, *, fits: bool
) -> None:
    """Java 17 is taken; Java 8, which counts differently, is refused with its number."""
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\necho '{said}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    if fits:
        assert jars.find_java({}) == java
    else:
        with pytest.raises(Unavailable, match=r"found: \[8\]"):
            jars.find_java({})


def test_a_named_java_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAPSE_JAVA is used although PATH has another; with none at all the error says so."""
    java = tmp_path / "my-java"
    java.write_text("#!/bin/sh\necho 'version \"21\"' >&2\n")
    java.chmod(0o755)
    assert jars.find_java({"LAPSE_JAVA": str(java)}) == java
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="none"):
        jars.find_java({})


def test_ports_and_passwords_are_kept(tmp_path: Path) -> None:
    """A node is the same at every start; its file is private, its ports none the kernel gives to clients."""
    file = tmp_path / "node.json"
    first = load_or_create(file, host="127.0.0.1", port=0)
    assert load_or_create(file, host="127.0.0.1", port=0) == first
    assert first.port != first.controller_port
    assert max(first.port, first.controller_port) < 32768
    assert file.stat().st_mode & 0o077 == 0


def test_a_taken_port_is_changed_unless_it_was_asked_for(tmp_path: Path) -> None:
    """A port somebody took in between gives way to another; one that was named is an error that says so."""
    file = tmp_path / "node.json"
    first = load_or_create(file, host="127.0.0.1", port=0)
    with socket.create_server(("127.0.0.1", first.port)):
        second = load_or_create(file, host="127.0.0.1", port=0)
        assert second.port != first.port
        assert second.admin_password == first.admin_password
        with pytest.raises(Unavailable, match="in use"):
            load_or_create(file, host="127.0.0.1", port=first.port)
