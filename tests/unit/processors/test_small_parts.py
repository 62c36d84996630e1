"""The pure parts of the connectors: waits, gate, addresses, tokens, the registry, what a team is handed."""

from __future__ import annotations

import random
import socket
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.addresses import AddressRefused, check_url, guarded_socket, public
from processors.answers import SEVERITY, worst
from processors.backoff import Backoff, retry_after, seconds
from processors.clear import read_login
from processors.gate import NEVER, Gate
from processors.objects import strongest
from processors.onboarding import Onboarding, guide
from processors.registry import KINDS, NAMES, kind, opens_here
from processors.tokens import authenticate, processor_of, register_token, revoke_token
from schemas.errors import BadInput
from schemas.ids import Micros
from schemas.times import SECOND
from tests.unit.processors.kit import new_vault

NOW = Micros(1_800_000_000 * SECOND)


# ---- waits -------------------------------------------------------------------------------------------------
@given(
    attempts=st.integers(1, 10_000),
    draw=st.floats(0, 1, exclude_max=True),
    wish=st.none() | st.integers(0, 10**18).map(Micros),
)
def test_a_wait_is_bounded_and_never_sooner_than_asked(
    attempts: int, draw: float, wish: Micros | None
) -> None:
    """Whatever the recipient asks and however often it failed."""
    back = Backoff()
    wait = back.wait(attempts, draw, wish)
    assert back.least <= wait <= max(back.longest, back.obey_up_to)
    assert wait >= min(wish or 0, back.obey_up_to)


def test_waits_spread() -> None:
    """Objects that failed together do not come back together."""
    draws = random.Random(1)
    waits = {Backoff().wait(8, draws.random()) for _ in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > seconds(100)


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120 * SECOND),
        (formatdate(NOW / SECOND + 60, usegmt=True), 60 * SECOND),
        (formatdate(NOW / SECOND - 60, usegmt=True), 0),
        ("-5", None),
        ("soon", None),
        ("9" * 40, None),
        ("١٢", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 251_602_300_799 * SECOND),
    ],
)
def test_retry_after_is_read_in_both_its_forms(header: str | None, wish: int | None) -> None:
    """Seconds or a date (RFC 9110); anything else is as if it were not there."""
    assert retry_after(header, NOW) == wish


@given(st.text(max_size=40))
def test_no_retry_after_raises(header: str) -> None:
    """A stranger's header is never an error of ours."""
    wish = retry_after(header, NOW)
    assert wish is None or wish >= 0


# ---- the gate ----------------------------------------------------------------------------------------------
def test_the_gate_opens_after_failures_and_closes_after_a_good_probe() -> None:
    """Closed, open, half open with one probe, closed."""
    gate, now = Gate(failures_to_open=3, cool_down=seconds(5)), NOW
    for _ in range(3):
        assert gate.enter(now)
        gate.failed(now, "vendor_down")
    assert not gate.enter(now)
    assert gate.code == "vendor_down"
    now = Micros(now + seconds(6))
    assert gate.enter(now)
    assert not gate.enter(now)
    gate.succeeded()
    assert gate.enter(now)
    assert gate.enter(now)
    assert gate.code is None


def test_a_failed_probe_doubles_the_cool_down() -> None:
    """Up to a bound."""
    gate, now, waits = Gate(failures_to_open=1, cool_down=seconds(1), longest=seconds(8)), NOW, []
    for _ in range(6):
        assert gate.enter(now)
        gate.failed(now, "vendor_down")
        waits.append((gate.opens_at(now) - now) // SECOND)
        now = gate.opens_at(now)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_a_pause_outlasts_the_circuit_and_a_disabled_gate_waits_for_somebody() -> None:
    """A pause with an end passes; one without an end needs `enable`."""
    gate = Gate()
    gate.pause(NOW, "vendor_login", seconds(60))
    assert gate.opens_at(NOW) == NOW + seconds(60)
    gate.pause(NOW, "vendor_closed", None)
    assert (gate.disabled, gate.opens_at(NOW)) == (True, NEVER)
    gate.enable()
    assert (gate.disabled, gate.enter(NOW)) == (False, True)


def test_a_probe_that_never_answers_does_not_close_the_gate_for_ever() -> None:
    """A cancelled call leaves the half-open state; after a while another probe may go."""
    gate = Gate(failures_to_open=1, cool_down=seconds(1), longest=seconds(10))
    gate.failed(NOW, "vendor_down")
    later = Micros(NOW + seconds(2))
    assert gate.enter(later)
    assert not gate.enter(later)
    assert gate.enter(Micros(later + seconds(11)))


# ---- addresses ---------------------------------------------------------------------------------------------
PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",  # noqa: S104  # an address to refuse, not to bind
    "255.255.255.255",
    "224.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_refused_however_it_is_written(address: str) -> None:
    """Loopback, link-local, private, reserved, also inside IPv6."""
    assert not public(address)
    with pytest.raises(AddressRefused):
        guarded_socket(allow_private=False)((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 443)))


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:8.8.8.8"])
def test_a_public_address_may_be_called(address: str) -> None:
    """Global unicast."""
    assert public(address)


def test_a_socket_is_made_where_the_address_is_allowed() -> None:
    """A test set-up may call itself."""
    made = guarded_socket(allow_private=True)((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443)))
    assert made.gettimeout() == 0
    made.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "partner.example",
        "ftp://partner.example/",
        "file:///etc/passwd",
        "https://",
        "https://user:secret@partner.example/",
        "https://partner.example:99999/",
        "https://[::1",
        "http://partner.example/",
        "https://127.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_a_url_that_may_not_be_called_is_refused_at_the_start(url: str) -> None:
    """The message names the policy's path and repeats no credential."""
    with pytest.raises(BadInput) as refused:
        check_url(url, allow_private=False, where="processors.partner.webhook.url")
    assert "secret" not in str(refused.value)
    assert "processors.partner" in str(refused.value)


def test_what_a_url_may_be() -> None:
    """Public https always; http and private addresses where a test set-up allows them."""
    assert check_url("https://partner.example/x", allow_private=False, where="w")
    assert check_url("http://127.0.0.1:8080/x", allow_private=True, where="w")


# ---- outcomes and causes -----------------------------------------------------------------------------------
def test_a_lapse_over_many_objects_never_promises_more_than_the_least() -> None:
    """The worst of two outcomes, whichever comes first."""
    for n, one in enumerate(SEVERITY):
        for other in SEVERITY[n:]:
            assert worst(one, other) == worst(other, one) == other


def test_an_erasure_outweighs_every_other_cause() -> None:
    """The strongest deletion is asked for."""
    assert strongest(["retention", "erasure", "withdrawal"]) == "erasure"
    assert strongest([]) == "retention"


# ---- registry ----------------------------------------------------------------------------------------------
def test_every_connector_has_one_name_and_only_two_open_here() -> None:
    """A vendor whose module is not there behaves as pull."""
    assert len(NAMES) == len(KINDS)
    assert {k.name for k in KINDS if k.opens_here and not k.vendor} == {"kafka", "webhook"}
    assert not opens_here("pull")
    with pytest.raises(BadInput):
        kind("carrier-pigeon")


# ---- tokens ------------------------------------------------------------------------------------------------
def test_a_token_is_kept_as_a_hash_and_known_again() -> None:
    """Also where the name has underscores, as the secret may have."""
    vault, token = new_vault(), "lk_big_partner_" + "_-x" * 14 + "_"
    with vault.transaction() as tx:
        register_token(tx, "big_partner", token)
        assert authenticate(tx, token) == "big_partner"
        assert authenticate(tx, token[:-1] + "y") is None
        assert token.encode() not in (tx.meta("token/big_partner") or b"")
        with pytest.raises(BadInput):
            register_token(tx, "other", token)
        revoke_token(tx, "big_partner")
        assert authenticate(tx, token) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_tokens(text: str) -> None:
    """A stranger's header is judged, never an error."""
    assert processor_of(text) is None or text.startswith("lk_")


# ---- onboarding --------------------------------------------------------------------------------------------
def test_what_a_team_is_handed_is_whole_and_holds_no_secret() -> None:
    """Every fact appears in the text; ten lines explain; the command is one to paste."""
    facts = Onboarding(
        processor="crm",
        bootstrap="kafka.example:9092",
        security="SASL_SSL",
        mechanism="SCRAM-SHA-512",
        topic="processor.crm",
        group="processor.crm",
        credentials_file="/data/with space/crm.json",
        key_endpoint="https://keys.example:8101",
        ca_file="/data/ca.pem",
        run_file="/data/with space/run.json",
    )
    text, json = guide(facts), facts.as_json()
    for value in (facts.bootstrap, facts.topic, facts.credentials_file, facts.key_endpoint, facts.ca_file):
        assert value in text
    assert len(json["how"]) == 10
    assert "'/data/with space/run.json' crm 10" in text
    assert json["schemas"].keys() == {"RecordDelivered", "Depersonalized"}


# ---- another cluster ---------------------------------------------------------------------------------------
SCRAM = '"mechanism": "SCRAM-SHA-512", "username": "u", "password": "hunter2"'


def test_the_log_in_of_another_cluster_is_a_file_and_encrypted(tmp_path: Path) -> None:
    """Clear records leave over TLS with a log-in of their own, or not at all but in a test set-up."""
    path = tmp_path / "warehouse.kafka"
    path.write_text(f'{{"protocol": "SASL_SSL", {SCRAM}}}')
    login = read_login(path)
    assert (login["sasl_plain_password"], login["security_protocol"]) == ("hunter2", "SASL_SSL")
    assert login["ssl_context"].check_hostname
    path.write_text(f'{{"protocol": "SASL_PLAINTEXT", {SCRAM}}}')
    with pytest.raises(BadInput, match="unencrypted"):
        read_login(path)
    assert "ssl_context" not in read_login(path, allow_private=True)


@pytest.mark.parametrize(
    "text",
    [
        None,
        '{"protocol": "TELNET"}',
        '{"password": "hunter2"}',
        "hunter2",
        '{"protocol": "SSL", "ca": "/no"}',
    ],
)
def test_what_is_no_log_in_is_refused_by_its_files_name_alone(tmp_path: Path, text: str | None) -> None:
    """Also where there is no file."""
    path = tmp_path / "warehouse.kafka"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput) as refused:
        read_login(path, allow_private=True)
    assert str(path) in str(refused.value)
    assert "hunter2" not in str(refused.value)
