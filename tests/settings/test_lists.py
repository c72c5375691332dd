"""The lists as files and entry by entry (S11, S13, S14, S18)."""

import contextlib
import sys
from collections.abc import Callable
from datetime import date
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.domain import is_domain, to_a_label
from appliance.settings import (
    DomainRecord,
    ExceptionMode,
    ExceptionRecord,
    InvalidSettings,
    NetworkRecord,
    Problem,
    Settings,
)
from appliance.settings.exceptions import ExceptionList
from appliance.settings.lists import (
    LISTS,
    ImportMode,
    add,
    export_text,
    import_text,
    preview,
    readable,
    records,
    remove,
    shown,
)
from appliance.settings.names import replaced
from appliance.settings.records import DomainSet, NetworkMap

MERGE, OVERWRITE = ImportMode.MERGE, ImportMode.OVERWRITE


def with_list(name: str, *lines: str) -> Settings:
    return replaced(Settings(), {LISTS[name].setting: list(lines)})


def problems_of(act: Callable[[], object]) -> tuple[Problem, ...]:
    with pytest.raises(InvalidSettings) as caught:
        act()
    return caught.value.problems


def lines_in(settings: Settings, name: str) -> list[str]:
    return [str(record) for record in records(settings, name)]


# ---- export and import are the identity -----------------------------------------

WORDS = st.text(
    st.one_of(st.just(" "), st.just("#"), st.characters(exclude_categories=("C", "Z"))), max_size=200
)
COMMENTS = WORDS.map(str.strip)
LABELS = st.one_of(
    st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True),
    st.from_regex(r"xn--[a-z0-9]{1,12}", fullmatch=True),
    st.sampled_from(["bücher", "пример", "例え", "ไทย", "faß", "ශ්‍රී", "بازار", "Σίσυφος"]).map(to_a_label),
)
DOMAINS = (
    st.lists(LABELS, min_size=2, max_size=4)
    .map(".".join)
    .filter(lambda name: is_domain(name) and not name.rpartition(".")[2].isdecimal())
)
DOMAIN_RECORDS = st.builds(DomainRecord, DOMAINS, st.booleans(), COMMENTS)
NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(1, 32)),
    st.tuples(st.ip_addresses(v=6), st.integers(1, 128)),
).map(lambda pair: ip_network(f"{pair[0]}/{pair[1]}", strict=False))
NETWORK_RECORDS = st.builds(NetworkRecord, NETWORKS, COMMENTS)
OWNERS = st.one_of(st.just(""), st.from_regex(r"[A-Za-zäé0-9._@-]{1,64}", fullmatch=True))
DAYS = st.none() | st.dates()
AUTHORS = st.none() | st.builds(DomainRecord, DOMAINS, st.booleans())
EXCEPTION_RECORDS = st.one_of(
    st.builds(
        ExceptionRecord,
        NETWORKS,
        st.sampled_from(ExceptionMode),
        DAYS,
        OWNERS,
        AUTHORS,
        comment=COMMENTS,
    ),
    st.builds(
        ExceptionRecord,
        st.none() | NETWORKS,
        st.just(ExceptionMode.EVALUATE),
        DAYS,
        OWNERS,
        AUTHORS,
        DOMAINS,
        COMMENTS,
    ),
)
OF_KIND: dict[type, st.SearchStrategy[Any]] = {
    DomainRecord: DOMAIN_RECORDS,
    NetworkRecord: NETWORK_RECORDS,
    ExceptionRecord: EXCEPTION_RECORDS,
}


@pytest.mark.parametrize("name", LISTS)
@given(st.data())
def test_s18_export_and_import_are_the_identity_for_any_records(name: str, data: st.DataObject) -> None:
    entries = data.draw(st.lists(OF_KIND[LISTS[name].record], max_size=6, unique_by=lambda r: r.key))
    settings = replaced(Settings(), {LISTS[name].setting: entries})
    exported = export_text(settings, name).encode()

    again = import_text(settings, name, exported, OVERWRITE)
    elsewhere = import_text(Settings(), name, exported, OVERWRITE)

    assert again.settings == elsewhere.settings == settings
    assert (again.added, again.removed, again.duplicates) == ((), (), ())
    assert again.unchanged == len(entries)


@given(st.text(max_size=300))
def test_s18_any_text_is_imported_whole_or_refused_with_lines(text: str) -> None:
    octets = text.encode("utf-8", "surrogatepass")
    problems: tuple[Problem, ...] = ()
    settings = Settings()

    with contextlib.suppress(InvalidSettings):
        settings = import_text(settings, "exceptions", octets, MERGE).settings
    if settings == Settings() and text.strip():
        problems = problems_of(lambda: import_text(settings, "exceptions", octets, MERGE))

    assert all(problem.line for problem in problems)
    assert bool(problems) == (not records(settings, "exceptions") and bool(text.strip()))


def test_s18_attributes_and_comments_stay_and_blank_lines_do_not() -> None:
    text = (
        "192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto\n"
        "\n   \n"
        "2001:db8::7 owner=anna from=*.example.com   #  a # b\n"
        "* dkim=list.example\n"
    )

    change = import_text(Settings(), "exceptions", text.encode(), OVERWRITE)

    assert export_text(change.settings, "exceptions") == (
        "192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto\n"
        "2001:db8::7 owner=anna from=*.example.com # a # b\n"
        "* mode=evaluate dkim=list.example\n"
    )


def test_s18_a_line_with_a_comment_alone_is_refused_because_it_could_not_be_kept() -> None:
    [problem] = problems_of(lambda: import_text(Settings(), "domains", b"# ours\nexample.com\n", OVERWRITE))

    assert (problem.field, problem.line) == ("verification.domains", 1)
    assert "no entry" in problem.message


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"a.example\nb.example\n", id="lf"),
        pytest.param(b"a.example\r\nb.example\r\n", id="crlf"),
        pytest.param(b"a.example\rb.example", id="cr"),
        pytest.param(b"\xef\xbb\xbfa.example\nb.example", id="byte-order-mark"),
        pytest.param(b"\n\na.example\n\t\r\n\nb.example\n\n", id="blank-lines"),
        pytest.param(b"A.Example.\n  b.example  \n", id="case-dot-spaces"),
    ],
)
def test_s18_line_ends_and_a_byte_order_mark_make_no_difference(octets: bytes) -> None:
    change = import_text(Settings(), "domains", octets, MERGE)

    assert lines_in(change.settings, "domains") == ["a.example", "b.example"]


@pytest.mark.parametrize(
    ("octets", "line", "message"),
    [
        pytest.param(b"a.example\nb\xfccher.example\n", 2, "octet 0xfc is not UTF-8", id="latin-1"),
        pytest.param("a.example\n".encode("utf-16"), None, "UTF-16", id="utf-16"),
        pytest.param(b"#" * (2 * 1024 * 1024 + 1), None, "longer than 2 MiB", id="too-long"),
        pytest.param("a.example # x\u2028y\n".encode(), 1, "control characters", id="line-separator"),
        pytest.param(b"a.example\n\rb.example\x00\n", 3, "not a domain name", id="nul"),
    ],
)
def test_s18_a_file_that_is_no_text_is_refused(octets: bytes, line: int | None, message: str) -> None:
    [problem] = problems_of(lambda: import_text(Settings(), "domains", octets, MERGE))

    assert (problem.field, problem.line) == ("verification.domains", line)
    assert message in problem.message


def test_s18_a_file_of_just_two_mebibytes_is_read() -> None:
    octets = b"a.example\n" + b"\n" * (2 * 1024 * 1024 - 10)

    assert import_text(Settings(), "domains", octets, MERGE).added == ("a.example",)


def test_s18_one_bad_line_refuses_the_file_and_every_bad_line_is_named() -> None:
    text = "a.example\ncom\r\n\nb..example\rc.example mode=skip\nd.example"

    problems = problems_of(lambda: import_text(Settings(), "domains", text.encode(), MERGE))

    assert [problem.line for problem in problems] == [2, 4, 5]
    assert '"com"' in problems[0].message
    assert "write example.com" in problems[0].message
    assert '"mode=skip"' in problems[2].message


def test_s18_of_very_many_bad_lines_the_first_hundred_are_named_and_the_rest_counted() -> None:
    text = "com\n" * 25_000

    problems = problems_of(lambda: import_text(Settings(), "domains", text.encode(), MERGE))

    assert [problem.line for problem in problems[:-1]] == list(range(1, 101))
    assert "24900 more lines" in problems[-1].message


# ---- merge, overwrite -----------------------------------------------------------


def test_s18_merge_keeps_what_is_there_and_tells_of_other_attributes() -> None:
    settings = with_list("exceptions", "192.0.2.1 # printer", "192.0.2.2 mode=evaluate")
    text = "192.0.2.2\n192.0.2.3\n192.0.2.1 # printer\n"

    change = import_text(settings, "exceptions", text.encode(), MERGE)

    assert lines_in(change.settings, "exceptions") == [
        "192.0.2.1 # printer",
        "192.0.2.2 mode=evaluate",
        "192.0.2.3",
    ]
    assert (change.added, change.removed, change.unchanged) == (("192.0.2.3",), (), 2)
    assert [(d.line, d.given, d.kept) for d in change.duplicates] == [
        (1, "192.0.2.2", "192.0.2.2 mode=evaluate"),
        (3, "192.0.2.1 # printer", "192.0.2.1 # printer"),
    ]


def test_s18_overwrite_makes_the_list_what_the_file_says() -> None:
    settings = with_list("exceptions", "192.0.2.1 # printer", "192.0.2.2", "192.0.2.9")

    change = import_text(settings, "exceptions", b"192.0.2.2\n192.0.2.1 # scanner\n", OVERWRITE)

    assert lines_in(change.settings, "exceptions") == ["192.0.2.2", "192.0.2.1 # scanner"]
    assert change.added == ("192.0.2.1 # scanner",)
    assert change.removed == ("192.0.2.1 # printer", "192.0.2.9")
    assert change.unchanged == 1


def test_s12_a_file_that_empties_the_list_in_force_is_refused() -> None:
    settings = replaced(Settings(), {"verification.scope": "listed", "verification.domains": ["example.com"]})

    [problem] = problems_of(lambda: import_text(settings, "domains", b"\n", OVERWRITE))

    assert problem.field == "verification.domains"
    assert "nothing would be checked" in problem.message


def test_a_merge_that_goes_beyond_the_limit_is_refused() -> None:
    settings = with_list("known-hosts", *(f"10.0.{n // 256}.{n % 256}" for n in range(4_096)))

    [problem] = problems_of(lambda: import_text(settings, "known-hosts", b"192.0.2.1", MERGE))

    assert str(problem) == "network.known_hosts: holds 4097 entries; the limit is 4096"


# ---- entry by entry -------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "given"),
    [
        pytest.param("EXAMPLE.com", "example.com", id="case"),
        pytest.param("example.com.", "example.com", id="trailing-dot"),
        pytest.param("Bücher.example", "bücher.example # shop", id="u-label"),
        pytest.param("XN--BCHER-KVA.example.", "bücher.example # shop", id="a-label"),
    ],
)
def test_s11_adding_a_variant_of_an_entry_changes_nothing_and_says_so(line: str, given: str) -> None:
    settings = with_list("domains", "example.com", "bücher.example # shop")

    change = add(settings, "domains", [line])

    assert change.settings == settings
    assert change.added == ()
    [duplicate] = change.duplicates
    assert duplicate.kept == given


def test_s11_an_entry_and_the_names_below_it_are_two_entries() -> None:
    change = add(with_list("domains", "example.com"), "domains", ["*.example.com", "*.EXAMPLE.com."])

    assert lines_in(change.settings, "domains") == ["example.com", "*.example.com"]
    assert len(change.duplicates) == 1


def test_s11_entries_are_added_all_or_none() -> None:
    problems = problems_of(lambda: add(Settings(), "domains", ["a.example", "*", "b.example", "com"]))

    assert [problem.line for problem in problems] == [2, 4]


def test_an_exception_without_an_owner_belongs_to_who_adds_it() -> None:
    lines = ["192.0.2.1 owner=bert", "192.0.2.2 # printer"]

    change = add(Settings(), "exceptions", lines, owner="anna")

    assert change.added == ("192.0.2.1 owner=bert", "192.0.2.2 owner=anna # printer")


def test_s11_an_entry_is_removed_by_any_spelling() -> None:
    settings = with_list("domains", "example.com # shop", "*.example.com", "bücher.example")

    change = remove(settings, "domains", ["Example.COM.", "BÜCHER.example"])

    assert lines_in(change.settings, "domains") == ["*.example.com"]
    assert change.removed == ("example.com # shop", "bücher.example")


def test_a_narrow_exception_is_another_entry_than_a_wide_one_of_the_same_network() -> None:
    settings = with_list("exceptions", "192.0.2.1", "192.0.2.1 from=example.com")

    change = remove(settings, "exceptions", ["192.0.2.1 from=example.com"])

    assert lines_in(change.settings, "exceptions") == ["192.0.2.1"]


def test_s11_removing_what_is_not_there_is_refused_with_what_may_be_meant() -> None:
    settings = with_list("exceptions", "192.0.2.1 from=example.com", "192.0.2.2")

    problems = problems_of(lambda: remove(settings, "exceptions", ["192.0.2.2", "192.0.2.1", "192.0.2.3"]))

    assert [(problem.line, problem.message) for problem in problems] == [
        (2, '"192.0.2.1" is not in the list; it has 192.0.2.1 from=example.com'),
        (3, '"192.0.2.3" is not in the list'),
    ]


def test_the_last_listed_domain_can_not_be_removed_while_only_listed_ones_are_verified() -> None:
    settings = replaced(Settings(), {"verification.scope": "listed", "verification.domains": ["example.com"]})

    [problem] = problems_of(lambda: remove(settings, "domains", ["example.com"]))

    assert problem.field == "verification.domains"


# ---- what is shown --------------------------------------------------------------


@pytest.mark.parametrize(
    ("a_label", "expected"),
    [
        pytest.param("xn--bcher-kva.example", "bücher.example", id="u-label"),
        pytest.param("xn--fa-hia.example", "faß.example", id="sharp-s"),
        pytest.param("xn--invalid-.example", "xn--invalid-.example", id="no-punycode"),
        pytest.param("xn--a.example", "xn--a.example", id="broken-punycode"),
        pytest.param("xn--abc-.example", "xn--abc-.example", id="ascii-in-disguise"),
        pytest.param("xn--10cl1a0b660p.example", "xn--10cl1a0b660p.example", id="holds-a-joiner"),
        pytest.param("example.com", "example.com", id="ascii"),
    ],
)
def test_u_labels_are_shown_where_they_lead_back_to_the_same_name(a_label: str, expected: str) -> None:
    assert readable(a_label) == expected


def test_s11_a_labels_are_stored_and_u_labels_are_shown_in_every_attribute() -> None:
    line = "192.0.2.1 mode=evaluate from=*.bücher.example dkim=faß.example # ü"

    change = add(Settings(), "exceptions", [line])

    [stored] = records(change.settings, "exceptions")
    assert str(stored) == ("192.0.2.1 mode=evaluate from=*.xn--bcher-kva.example dkim=xn--fa-hia.example # ü")
    assert shown(stored) == line


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("example.com", (("example.com", True), ("mail.example.com", False)), id="bare"),
        pytest.param("*.example.com", (("example.com", False), ("mail.example.com", True)), id="star"),
        pytest.param(
            "*.BÜCHER.example",
            (("bücher.example", False), ("mail.bücher.example", True)),
            id="internationalized",
        ),
    ],
)
def test_s13_a_preview_tells_what_an_entry_matches(line: str, expected: object) -> None:
    assert preview(DomainRecord.parse(line)) == expected


# ---- size -----------------------------------------------------------------------


def work(act: Callable[[], object]) -> int:
    """The number of Python lines that *act* runs, whoever wrote them: comparing two needs no clock."""
    lines = 0

    def count(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines


class Compared(str):
    """A name that counts how often it is compared with an entry."""

    __slots__ = ()
    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_look_up_among_ten_thousand_domains_costs_no_more_than_among_ten() -> None:
    few = DomainSet(DomainRecord.parse(f"d{n}.example") for n in range(10))
    many = DomainSet(DomainRecord.parse(f"d{n}.example") for n in range(10_000))
    name = Compared("a.b.not-there.example")

    costs = [work(lambda: name in few), work(lambda: name in many)]

    assert costs[0] == costs[1]
    assert (
        Compared.times <= 4
    )  # a hash may collide, a search through the list would compare ten thousand times


@pytest.mark.parametrize("address", [IPv4Address("203.0.113.7"), IPv6Address("2001:db8::7")])
def test_a_look_up_among_4096_networks_costs_no_more_than_among_16(
    address: IPv4Address | IPv6Address,
) -> None:
    def networks(count: int) -> list[str]:
        sixes = (str(IPv6Network((0x2A << 120 | n << 64, 64))) for n in range(count // 2))
        return [*(f"10.{n // 256}.{n % 256}.0/24" for n in range(count // 2)), *sixes]

    def cost(count: int) -> tuple[int, int]:
        table = NetworkMap((NetworkRecord.parse(line).network, line) for line in networks(count))
        exceptions = ExceptionList(ExceptionRecord.parse(line) for line in networks(count))
        return (
            work(lambda: table.get(address)),
            work(lambda: exceptions.find(address, date(2026, 11, 23), authors=("example.com",))),
        )

    assert cost(16) == cost(4_096)


def test_lists_of_full_size_are_imported_and_exported() -> None:
    domains = "".join(f"*.host{n}.bücher.example # entry {n}\n" for n in range(10_000)).encode()
    networks = "".join(f"10.{n // 256}.{n % 256}.0/24 mode=evaluate\n" for n in range(4_096)).encode()
    steps: list[int] = []

    first = import_text(Settings(), "domains", domains, OVERWRITE, steps.append)
    second = import_text(first.settings, "exceptions", networks, OVERWRITE)

    assert (len(first.added), len(second.added)) == (10_000, 4_096)
    assert sum(steps) == 10_001  # what stands behind the last line end is a line as well
    assert len(steps) > 10
    assert export_text(second.settings, "domains").encode() == domains
    assert export_text(second.settings, "exceptions").encode() == networks


def test_what_can_be_saved_can_be_exported_and_imported_again() -> None:
    lines = [f"host{n}.example.com # {'ü' * 190}" for n in range(6_000)]

    [problem] = problems_of(lambda: replaced(Settings(), {"verification.domains": lines}))

    assert "longer than 2 MiB" in problem.message
