"""The collector's pure modules: parsers, rates, networks, addresses, open kinds."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lapse.collector.access import client_address, cors, parse_address, prefix_of, ranges
from lapse.collector.body import Body, Media, read_json, read_pairs
from lapse.collector.forms import from_json, from_pairs
from lapse.collector.http import Problem, pointer, read_headers, read_query
from lapse.collector.networks import NetworkFile, Networks
from lapse.collector.opens import GIF, Sources, open_kind
from lapse.collector.rates import Rates
from lapse.collector.settings import Limits
from tests.unit.collector.harness import demo_plans

PLAN = demo_plans().latest
SOURCE = PLAN.sources["form/request-demo"]
LIMITS = Limits()


def parse(media: Media, data: bytes) -> object:
    """What a form's body says."""
    if media == "json":
        return from_json(read_json(data), LIMITS.fields)
    return from_pairs(read_pairs(Body(media=media, data=data, boundary=b"b"), LIMITS), SOURCE)


@given(st.binary(max_size=300), st.sampled_from(["json", "urlencoded", "multipart"]))
def test_no_bytes_break_the_parsers(data: bytes, media: Media) -> None:
    """Whatever the bytes, there is a submission or a problem document, never another error."""
    try:
        parse(media, data)
    except Problem as refused:
        assert refused.status in {400, 413, 415, 422}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_MEMBERS = [
    "event_id",
    "fields",
    "consents",
    "notice",
    "signals",
    "collected_at",
    "nonce",
    "rendered_at",
    "x",
]


@given(st.dictionaries(st.sampled_from(_MEMBERS), _JSON, max_size=6))
def test_no_json_breaks_the_forms(document: dict[str, object]) -> None:
    """Members of any shape are taken or refused as 413 or 422 with a pointer that quotes no data."""
    try:
        from_json(document, LIMITS.fields)
    except Problem as refused:
        assert refused.status in {413, 422}
        assert refused.where.startswith("/") or refused.where == ""


@given(st.text())
def test_a_pointer_never_repeats_what_may_be_data(name: str) -> None:
    """Only names made of letters, digits, dot, dash and underscore stand in a pointer."""
    assert pointer("/fields", name) in {"/fields", f"/fields/{name}"}
    assert "@" not in pointer("/fields", name)


# ---- rates -------------------------------------------------------------------------------------------------
def test_a_bucket_empties_and_fills() -> None:
    """A burst at once, then the rate; the wait told is the wait there is."""
    rates = Rates(rate=2.0, burst=3)
    assert [rates.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rates.take("a", 0.0) == pytest.approx(0.5)
    assert rates.take("b", 0.0) == 0.0
    assert rates.take("a", 0.5) == 0.0
    assert rates.take("a", 0.5) > 0
    assert rates.take("a", -100.0) > 0, "a clock that steps back gives nothing away"


def test_memory_is_bounded() -> None:
    """However many addresses there are, only so many are remembered."""
    rates = Rates(rate=1.0, burst=1, keys=10)
    for n in range(1000):
        rates.take(n, 0.0)
    assert len(rates) == 10


@given(st.lists(st.floats(0, 100), min_size=1, max_size=80), st.integers(1, 5))
def test_no_more_passes_than_burst_and_rate_allow(gaps: list[float], burst: int) -> None:
    """Over any span, what passes is at most burst + rate x span."""
    rates, now, passed = Rates(rate=0.5, burst=burst), 0.0, 0
    for gap in gaps:
        now += gap
        passed += rates.take("a", now) == 0.0
    assert passed <= burst + 0.5 * (now - gaps[0]) + 1e-6


# ---- networks ----------------------------------------------------------------------------------------------
@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 32)), max_size=20), st.integers(0, 2**32 - 1)
)
def test_networks_agree_with_the_standard_library(spans: list[tuple[int, int]], asked: int) -> None:
    """Merged ranges contain exactly the addresses of their networks."""
    networks = [ip_network((start, bits), strict=False) for start, bits in spans]
    merged = Networks.of(str(network) for network in networks)
    address = IPv4Address(asked)
    assert (str(address) in merged) == any(address in network for network in networks)


def test_a_network_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Apple's columns and comments are read; garbage is counted; an emptied file changes nothing."""
    path = tmp_path / "egress.csv"
    file = NetworkFile(path, ["192.0.2.0/24"])
    assert "192.0.2.1" in file.networks
    path.write_text("# Apple\n172.224.224.0/27,GB,GB-ENG,London,\n2a02:26f7::/64,US,,,\nnonsense\n")
    assert file.refresh()
    assert not file.refresh()
    assert "172.224.224.5" in file.networks
    assert "2a02:26f7::1" in file.networks
    assert "::ffff:172.224.224.5" in file.networks
    assert "192.0.2.1" not in file.networks
    assert file.networks.refused == 1
    path.write_text("")
    assert not file.refresh()
    assert "172.224.224.5" in file.networks
    assert "not an address" not in file.networks


# ---- addresses ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.1", "198.51.100.1", "203.0.113.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.1.1.1, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, garbage", "10.0.0.1"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        (None, "198.51.100.1", None),
    ],
)
def test_forwarded_counts_only_from_trusted_proxies(
    peer: str | None, forwarded: str | None, client: str | None
) -> None:
    """Read from the right, as far as proxies we trust vouch for it."""
    found = client_address(peer, forwarded, ranges([ip_network("10.0.0.0/8")]))
    assert (found.text if found else None) == client


@given(st.ip_addresses().map(str) | st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){3}", fullmatch=True) | st.text())
def test_addresses_are_read_as_the_standard_library_reads_them(text: str) -> None:
    """The quick way takes neither more nor less; an address has one spelling."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        assert parse_address(text) is None
        return
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    expected = mapped or address
    assert parse_address(text) == (expected.version, int(expected), str(expected))


@given(st.binary(max_size=40) | st.from_regex(rb"[ -~]*", fullmatch=True))
def test_a_query_is_read_as_the_standard_library_reads_it(raw: bytes) -> None:
    """The quick way for one plain parameter changes nothing."""
    try:
        expected = dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict"))
    except ValueError:
        expected = None
    try:
        assert read_query(raw) == expected
    except Problem:
        assert expected is None or raw.count(b"&") >= 20


def test_prefixes_are_a_subscribers() -> None:
    """/24 of IPv4, /56 of IPv6."""

    def prefix(text: str) -> tuple[int, int] | None:
        return prefix_of(parse_address(text))

    assert prefix("203.0.113.1") == prefix("203.0.113.254") != prefix("203.0.114.1")
    assert prefix("2001:db8:0:1::1") == prefix("2001:db8:0:ff::9") != prefix("2001:db8:0:100::1")
    assert prefix_of(None) is None


# ---- opens -------------------------------------------------------------------------------------------------
PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
PREFETCH = "Mozilla/5.0 AppleWebKit/537.36 Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
MAIL = "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.3"


@pytest.mark.parametrize(
    ("headers", "address", "kind"),
    [
        ({"user-agent": "Mozilla/5.0"}, "172.224.224.5", "apple_mpp"),
        ({"user-agent": "Mozilla/5.0"}, "203.0.113.1", "direct"),
        ({"user-agent": "Mozilla/5.0 (Macintosh)"}, "172.224.224.5", "direct"),
        ({"user-agent": PROXY}, "66.249.84.1", "gmail_proxy"),
        ({"user-agent": PROXY}, None, "gmail_proxy"),
        ({"user-agent": PREFETCH}, "66.249.84.1", "gmail_prefetch"),
        ({"user-agent": PREFETCH}, "203.0.113.1", "direct"),
        ({"user-agent": MAIL, "sec-purpose": "prefetch"}, "203.0.113.1", "machine"),
        ({"user-agent": MAIL, "sec-purpose": "prefetch;prerender"}, "203.0.113.1", "machine"),
        ({"user-agent": "Barracuda Sentinel (EE)"}, "203.0.113.1", "machine"),
        ({"user-agent": MAIL}, "192.0.2.77", "machine"),
        ({"user-agent": MAIL}, "203.0.113.1", "direct"),
        ({}, None, "direct"),
    ],
)
def test_open_kinds_are_the_tables(
    tmp_path: Path, headers: Mapping[str, str], address: str | None, kind: str
) -> None:
    """Each row of the table of evidence."""
    apple, scanners = tmp_path / "apple.csv", tmp_path / "scanners.txt"
    apple.write_text("172.224.224.0/27,GB,GB-ENG,London,\n")
    scanners.write_text("192.0.2.0/24\n")
    assert open_kind(headers, address, Sources.load(apple, None, scanners)) == kind


def test_the_gif_is_a_gif_of_43_bytes() -> None:
    """GIF89a, one by one, ends as it must."""
    assert len(GIF) == 43
    assert GIF[:10] == b"GIF89a\x01\x00\x01\x00"
    assert GIF[-1:] == b";"


def test_sources_are_refreshed_together(tmp_path: Path) -> None:
    """What the operator has replaced is read again."""
    apple = tmp_path / "apple.csv"
    sources = Sources.load(apple, None, None)
    agent = {"user-agent": "Mozilla/5.0"}
    assert open_kind(agent, "172.224.224.5", sources) == "direct"
    apple.write_text("172.224.224.0/27\n")
    sources.refresh()
    assert open_kind(agent, "172.224.224.5", sources) == "apple_mpp"


# ---- requests ----------------------------------------------------------------------------------------------
def test_headers_that_may_repeat_are_joined() -> None:
    """RFC 9110, 5.3; those that must not are refused."""
    assert read_headers([(b"x-forwarded-for", b"1"), (b"x-forwarded-for", b"2")]) == {
        "x-forwarded-for": "1, 2"
    }
    with pytest.raises(Problem):
        read_headers([(b"origin", b"1"), (b"origin", b"2")])


def test_without_an_origin_there_is_no_cors() -> None:
    """A request from no page gets no header about pages."""
    assert cors({}, PLAN, "www") == ()
    assert cors({"origin": "https://x"}, PLAN, "nowhere") == ((b"vary", b"Origin"),)


@pytest.mark.parametrize(
    ("shown", "micros"),
    [
        (1_700_000_000, 1_700_000_000_000_000),
        ("1700000001", 1_700_000_001_000_000),
        (1_700_000_000_123, 1_700_000_000_123_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000),
        (None, None),
    ],
)
def test_when_a_page_was_shown(shown: object, micros: int | None) -> None:
    """Seconds, milliseconds and RFC 3339 all do."""
    assert from_json({"rendered_at": shown}, LIMITS.fields).rendered_at == micros
