"""The policy record: DISC-02 to DISC-15, the fo and URI vectors of RFC 9989 section 4.7 and 4.8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.dmarc.record import (
    MAX_RECORD_OCTETS,
    MAX_URIS,
    AlignmentMode,
    DmarcRecord,
    Policy,
    Psd,
    is_dmarc_record,
    parse_record,
    select_record,
)


def parsed(tags: str) -> DmarcRecord:
    record = parse_record(f"v=DMARC1; {tags}".encode())
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(b"v=DMARC1", True, id="TW-27 version alone"),
        pytest.param(b"v=DMARC1;", True, id="trailing semicolon"),
        pytest.param(b"v=DMARC1; p=none", True, id="with a tag"),
        pytest.param(b"v = DMARC1 ; p = reject ;", True, id="DISC-04 white space"),
        pytest.param(b"v\t=\tDMARC1\t; p=none", True, id="DISC-04 tabs"),
        pytest.param(b"V=DMARC1; p=none", True, id="DISC-09 tag name in upper case"),
        pytest.param(b" v=DMARC1; p=none", False, id="DISC-05 leading white space"),
        pytest.param(b"v=dmarc1; p=none", False, id="DISC-03 value in lower case"),
        pytest.param(b"v=Dmarc1; p=none", False, id="DISC-03 value in mixed case"),
        pytest.param(b"v=DMARC1 p=none", False, id="DISC-03 no semicolon"),
        pytest.param(b"v=DMARC10; p=none", False, id="DISC-03 longer version"),
        pytest.param(b"v=DMARC2; p=none", False, id="DISC-03 other version"),
        pytest.param(b"p=none; v=DMARC1", False, id="DISC-03 not first"),
        pytest.param(b'"v=DMARC1; p=none"', False, id="quotation marks as content"),
        pytest.param(b"v=DMARC1\n", False, id="line end after the version"),
        pytest.param(b"v=spf1 -all", False, id="SPF"),
        pytest.param(b"", False, id="empty"),
        pytest.param(b"v=DMARC1; p=none;" + b" " * MAX_RECORD_OCTETS, False, id="DISC-15 too long"),
    ],
)
def test_disc_03_a_record_begins_with_the_version(text: bytes, expected: bool) -> None:
    assert is_dmarc_record(text) is expected


@pytest.mark.parametrize(
    ("texts", "policy"),
    [
        pytest.param([b"v=DMARC1; p=reject"], "reject", id="one"),
        pytest.param([b"v=spf1 -all", b"v=DMARC1; p=reject", b"junk"], "reject", id="TW-22 among others"),
        pytest.param([b"v=DMARC1; p=reject", b"v=DMARC1; p=reject"], None, id="DISC-11 two alike"),
        pytest.param([b"v=DMARC1; p=reject", b"v=DMARC1; p=none"], None, id="DISC-11 two that differ"),
        pytest.param([b"v=DMARC1; p=reject", b"v=dmarc1; p=none"], "reject", id="one and a near miss"),
        pytest.param([], None, id="none"),
    ],
)
def test_disc_11_exactly_one_record_counts(texts: list[bytes], policy: str | None) -> None:
    record = select_record(texts)

    assert (record.p if record else None) == policy


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param("p=reject", {"p": Policy.REJECT, "sp": None, "np": None}, id="p alone"),
        pytest.param("p=Reject; SP=QUARANTINE", {"p": "reject", "sp": "quarantine"}, id="DISC-09 case"),
        pytest.param("p = reject ; sp\t=\tnone", {"p": "reject", "sp": "none"}, id="DISC-04 white space"),
        pytest.param("adkim=s; aspf=S; p=none", {"adkim": "s", "aspf": "s", "p": "none"}, id="DISC-10 order"),
        pytest.param(
            "p=none", {"adkim": AlignmentMode.RELAXED, "psd": Psd.UNKNOWN, "fo": "0"}, id="defaults"
        ),
        pytest.param(
            "p=none; adkim=strict; aspf=; psd=maybe; t=1",
            {"adkim": "r", "aspf": "r", "psd": "u", "testing": False},
            id="DISC-07 invalid values",
        ),
        pytest.param(
            "p=reject; pct=0; rf=afrf; ri=1; foo=bar",
            {"p": "reject", "problems": ()},
            id="DISC-06 unknown tags",
        ),
        pytest.param("p=reject;; ;bare; sp=none", {"p": "reject", "sp": "none"}, id="DISC-06 empty pieces"),
        pytest.param("=x; =y; p=reject", {"p": "reject"}, id="equals signs without a tag"),
        pytest.param("\u00e9=x; \u00e8=y; p=reject", {"p": "reject"}, id="tags beyond ASCII"),
        pytest.param("p=none; psd=Y; t=Y", {"psd": "y", "testing": True}, id="DISC-35 psd and t"),
        pytest.param("p=re ject", {"p": None, "misstates_policy": True}, id="white space in a value"),
        pytest.param("p=reject; sp=", {"sp": None, "misstates_policy": True}, id="DISC-12 empty sp"),
        pytest.param("p=reject; np=x", {"np": None, "misstates_policy": True}, id="DISC-12 invalid np"),
        pytest.param("sp=reject", {"p": None, "misstates_policy": True}, id="DISC-12 no p"),
        pytest.param("p=reject; x=a=b", {"p": "reject", "problems": ()}, id="equals sign in a value"),
    ],
)
def test_tags_are_read(tags: str, expected: dict[str, object]) -> None:
    record = parsed(tags)

    assert {name: getattr(record, name) for name in expected} == expected


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param("p=none; p=reject", id="TW-36 p"),
        pytest.param("p=none; P=none", id="in another case"),
        pytest.param("p=none; foo=1; foo=2", id="unknown tag"),
        pytest.param("v=DMARC1; p=none", id="version"),
    ],
)
def test_disc_08_a_tag_twice_voids_the_record(tags: str) -> None:
    assert parse_record(f"v=DMARC1; {tags}".encode()) is None


def test_disc_06_octets_outside_ascii_void_the_value_and_not_the_record() -> None:
    record = parse_record(b"v=DMARC1; p=reject; rua=mailto:\xc3\xbc@example.com")

    assert record is not None
    assert (record.p, record.rua) == (Policy.REJECT, ())
    assert record.text.isascii() is False
    assert "\ufffd" in record.text


@pytest.mark.parametrize(
    ("tags", "applied"),
    [
        pytest.param("p=reject", "reject", id="a sound record"),
        pytest.param("rua=mailto:a@example.com", "none", id="TW-26"),
        pytest.param("p=rejct; rua=https://example.com/r", "none", id="any scheme"),
        pytest.param(
            "p=reject; np=x; rua=a@x, mailto:a@example.com", "none", id="one valid URI among others"
        ),
        pytest.param("p=rejct; rua=a@example.com", None, id="TW-30"),
        pytest.param("p=rejct; ruf=mailto:a@example.com", None, id="ruf does not help"),
        pytest.param("", None, id="TW-27"),
    ],
)
def test_disc_12_a_misstated_policy_is_none_or_no_policy(tags: str, applied: str | None) -> None:
    record = parsed(tags).as_applied()

    assert (record.p if record else None) == applied
    assert record is None or record.p is Policy.REJECT or (record.sp, record.np) == (None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("1", "1", id="one"),
        pytest.param("1:d:s", "1:d:s", id="1, d and s"),
        pytest.param("d:0", "d:0", id="0 and d"),
        pytest.param(" 1 : D ", "1:d", id="white space and case"),
        pytest.param("0:1", "0", id="0 and 1 exclude each other"),
        pytest.param("d:d", "0", id="d twice"),
        pytest.param("x", "0", id="unknown"),
        pytest.param("1:", "0", id="empty option"),
    ],
)
def test_disc_14_failure_options(value: str, expected: str) -> None:
    assert parsed(f"p=none; ruf=mailto:a@example.com; fo={value}").fo == expected


def test_disc_14_failure_options_need_ruf() -> None:
    assert parsed("p=none; fo=1:d:s").fo == "0"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            "mailto:a@x.test,mailto:b@x.test!10m , https://h.test/r",
            ("mailto:a@x.test", "mailto:b@x.test", "https://h.test/r"),
            id="DISC-13 several, with a size limit",
        ),
        pytest.param("mailto:a@x.test!10", ("mailto:a@x.test",), id="size without a unit"),
        pytest.param("mailto:a@x.test!10G", ("mailto:a@x.test",), id="size in upper case"),
        pytest.param("a@x.test", (), id="no scheme"),
        pytest.param("mailto:", (), id="nothing after the scheme"),
        pytest.param("mailto:a!b@x.test", (), id="exclamation mark not encoded"),
        pytest.param("mailto:a%2Cb@x.test", ("mailto:a%2Cb@x.test",), id="encoded comma"),
        pytest.param(
            "mailto:a@x.test?subject=x%0d%0abcc:z@z.test",
            ("mailto:a@x.test?subject=x%0d%0abcc:z@z.test",),
            id="header part, kept as published",
        ),
        pytest.param("mailto:Reports@X.test", ("mailto:Reports@X.test",), id="DISC-09 case is kept"),
        pytest.param(",,mailto:a@x.test,", ("mailto:a@x.test",), id="empty pieces"),
        pytest.param("mailto:a b@x.test", (), id="white space inside"),
        pytest.param("", (), id="empty"),
    ],
)
def test_report_addresses_are_kept_as_published(value: str, expected: tuple[str, ...]) -> None:
    assert parsed(f"p=none; rua={value}").rua == expected


def test_disc_15_a_limited_number_of_addresses_is_looked_at() -> None:
    record = parsed("p=none; rua=" + ",".join(f"mailto:a{n}@x.test" for n in range(MAX_URIS + 5)))

    assert len(record.rua) == MAX_URIS
    assert any("more than" in problem for problem in record.problems)


@given(octets=st.binary(max_size=300))
def test_t22_any_octets_make_a_record_or_none_and_nothing_shown_is_a_control(octets: bytes) -> None:
    record = parse_record(b"v=DMARC1;" + octets)

    if record is not None:
        shown = [record.text, *record.problems, *record.rua, *record.ruf, record.fo]
        assert all(char.isprintable() or char == "\ufffd" for text in shown for char in text)
