import io
import random
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.store.facts import PolicyGroup, ReportRow
from reporting.aggregate_check import InvalidReport, check_report
from reporting.aggregate_xml import NAMESPACE, Origin, Totals, clean, write_report
from reporting.period import utc_day
from tests.reporting.samples import DAY, GROUP, MIDNIGHT, ORIGIN, PUBLISHED, ROW, SPOOF

XML_NAME = f"{{{NAMESPACE}}}"


def written(*rows: tuple[ReportRow, int], group: PolicyGroup = GROUP, origin: Origin = ORIGIN) -> ET.Element:
    """The report on *rows*, checked, and read by another parser than the one that wrote it."""
    file = io.BytesIO()
    totals = write_report(file, origin, group, utc_day(DAY), rows)
    file.seek(0)
    assert check_report(file) == totals
    return ET.fromstring(file.getvalue())


def outline(element: ET.Element) -> object:
    """Names without namespace, with text or children."""
    name = element.tag.removeprefix(XML_NAME)
    return (name, [outline(child) for child in element] if len(element) else element.text or "")


def all_texts(root: ET.Element, name: str) -> list[str]:
    return [element.text or "" for element in root.iter(XML_NAME + name)]


def test_a_whole_report_in_the_order_that_fits_both_schemas_agg_21() -> None:
    root = written((ROW, 40), (SPOOF, 2))

    assert outline(root) == (
        "feedback",
        [
            ("version", "1.0"),
            (
                "report_metadata",
                [
                    ("org_name", "Gateway & Söhne"),
                    ("email", "dmarc@gateway.test"),
                    ("extra_contact_info", "https://gateway.test/dmarc"),
                    ("report_id", ORIGIN.report_id),
                    ("date_range", [("begin", str(MIDNIGHT)), ("end", str(MIDNIGHT + 86_399))]),
                    ("generator", "DMARC Gate 0.1"),
                ],
            ),
            (
                "policy_published",
                [
                    ("domain", "bank.test"),
                    ("adkim", "r"),
                    ("aspf", "s"),
                    ("p", "reject"),
                    ("sp", "quarantine"),
                    ("np", "reject"),
                    ("fo", "0"),
                    ("testing", "n"),
                    ("discovery_method", "treewalk"),
                ],
            ),
            (
                "record",
                [
                    (
                        "row",
                        [
                            ("source_ip", "192.0.2.7"),
                            ("count", "40"),
                            (
                                "policy_evaluated",
                                [("disposition", "pass"), ("dkim", "pass"), ("spf", "fail")],
                            ),
                        ],
                    ),
                    (
                        "identifiers",
                        [
                            ("envelope_to", "inside.test"),
                            ("envelope_from", "bounce.bank.test"),
                            ("header_from", "mail.bank.test"),
                        ],
                    ),
                    (
                        "auth_results",
                        [
                            ("dkim", [("domain", "bank.test"), ("selector", "s1"), ("result", "pass")]),
                            (
                                "spf",
                                [("domain", "bounce.bank.test"), ("scope", "mfrom"), ("result", "softfail")],
                            ),
                        ],
                    ),
                ],
            ),
            (
                "record",
                [
                    (
                        "row",
                        [
                            ("source_ip", "2001:db8::1"),
                            ("count", "2"),
                            (
                                "policy_evaluated",
                                [
                                    ("disposition", "quarantine"),
                                    ("dkim", "fail"),
                                    ("spf", "fail"),
                                    (
                                        "reason",
                                        [("type", "mailing_list"), ("comment", "list header fields")],
                                    ),
                                    ("reason", [("type", "policy_test_mode"), ("comment", "t=y")]),
                                ],
                            ),
                        ],
                    ),
                    ("identifiers", [("envelope_from", ""), ("header_from", "mail.bank.test")]),
                    (
                        "auth_results",
                        [
                            (
                                "dkim",
                                [
                                    ("domain", "other.test"),
                                    ("selector", "none"),
                                    ("result", "permerror"),
                                    ("human_result", "no selector"),
                                ],
                            ),
                            (
                                "dkim",
                                [
                                    ("domain", "list.test"),
                                    ("selector", "k"),
                                    ("result", "fail"),
                                    ("human_result", "body hash"),
                                ],
                            ),
                            ("spf", [("domain", "none"), ("scope", "mfrom"), ("result", "none")]),
                        ],
                    ),
                ],
            ),
        ],
    )


def test_a_misstated_record_is_explained_in_one_error_element() -> None:
    broken = replace(PUBLISHED, p="none", sp="none", np="none", error="no p tag; the fo tag is not valid")

    root = written((ROW, 1), group=PolicyGroup("bank.test", broken))

    assert all_texts(root, "error") == ["no p tag; the fo tag is not valid"]


def test_the_test_mode_of_a_record_is_reported() -> None:
    root = written((ROW, 1), group=PolicyGroup("bank.test", replace(PUBLISHED, testing=True)))

    assert all_texts(root, "testing") == ["y"]


@pytest.mark.parametrize(
    ("given_ip", "shown"),
    [
        pytest.param("2001:0DB8:0:0:0:0:0:1", "2001:db8::1", id="RFC 5952"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="mapped IPv4"),
    ],
)
def test_addresses_have_one_form_agg_15(given_ip: str, shown: str) -> None:
    root = written((replace(ROW, source_ip=given_ip), 1))

    assert all_texts(root, "source_ip") == [shown]


def test_no_more_than_a_hundred_signatures_are_listed_agg_12() -> None:
    signatures = tuple((f"d{number}.test", "s", "fail", "") for number in range(150))

    root = written((replace(ROW, dkim=signatures), 1))

    assert len(all_texts(root, "selector")) == 100


def test_a_report_without_records_is_refused() -> None:
    with pytest.raises(InvalidReport):
        written()


def test_totals_are_those_of_the_rows() -> None:
    file = io.BytesIO()

    totals = write_report(file, ORIGIN, GROUP, utc_day(DAY), ((ROW, count) for count in (1, 2, 3)))

    assert totals == Totals(rows=3, messages=6)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"disposition": "delete"}, id="disposition"),
        pytest.param({"reasons": (("forwarded", ""),)}, id="reason"),
        pytest.param({"dkim": (("a.test", "s", "hardfail", ""),)}, id="DKIM result"),
        pytest.param({"spf_result": "Pass\x00"}, id="SPF result"),
        pytest.param({"source_ip": "<br>"}, id="source"),
    ],
)
def test_a_word_that_rfc_9990_does_not_know_stops_the_report(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidReport):
        written((replace(ROW, **change), 1))


HOSTILE_TEXTS = (
    "]]></domain>",
    "<x/>",
    "&amp;",
    "\x00a",
    "\ud800",
    "a\r\nb",
    "\ufffe",
    " x ",
    "\x85\u2028",
    "A" * 400,
)
HOSTILE = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=()), max_size=300), st.sampled_from(HOSTILE_TEXTS)
)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.lists(st.tuples(HOSTILE, HOSTILE, HOSTILE), max_size=3))
def test_hostile_text_comes_back_as_it_was_but_for_what_xml_cannot_hold_t29(
    name: str, other: str, comment: str, error: str, signatures: list[tuple[str, str, str]]
) -> None:
    row = replace(
        ROW,
        header_from=name,
        envelope_from=other,
        envelope_to="",
        reasons=(("other", comment),),
        dkim=tuple((domain, selector, "fail", human) for domain, selector, human in signatures),
        spf_domain=name,
    )
    group = PolicyGroup(name, replace(PUBLISHED, fo=other, error=error))
    origin = replace(ORIGIN, organization=other, contact=comment)

    root = written((row, 1), group=group, origin=origin)

    named = [signature for signature in signatures if signature[0]]
    as_domain = [clean(text.lower().removesuffix("."), 255) for text in (name, other)]
    assert all_texts(root, "header_from") == [as_domain[0]]
    assert all_texts(root, "envelope_from") == [as_domain[1]]
    assert all_texts(root, "fo") == all_texts(root, "org_name") == [clean(other)]
    assert all_texts(root, "comment") == ([clean(comment)] if comment else [])
    assert all_texts(root, "error") == ([clean(error, 1000)] if error else [])
    assert len(all_texts(root, "selector")) == len(named)
    assert all_texts(root, "human_result") == [clean(human) for _, _, human in named if human]


def test_ten_thousand_hostile_rows_come_back_as_they_were_t29() -> None:
    chance = random.Random(29)
    words = [*HOSTILE_TEXTS, "bank.test", "UPPER.test.", "\U0001f600", "\x7f", "\x1b[31m", "'\"", "a" * 255]

    def text() -> str:
        return "".join(chance.choices(words, k=chance.choice((0, 1, 1, 2, 5)))) + chr(
            chance.randrange(0xD7FF)
        )

    rows = [
        (
            replace(
                ROW,
                source_ip=f"2001:db8::{number:x}",
                header_from=text(),
                envelope_from=text(),
                envelope_to=text(),
                spf_domain=text(),
                reasons=tuple(("other", text()) for _ in range(chance.randrange(3))),
                dkim=tuple((text(), text(), "fail", text()) for _ in range(chance.randrange(3))),
            ),
            number,
        )
        for number in range(1, 10_001)
    ]

    root = written(*rows)

    assert [values(record) for record in root.iter(XML_NAME + "record")] == [
        expected(row, count) for row, count in rows
    ]


def values(record: ET.Element) -> list[str]:
    """The text of every element that holds no others."""
    return [element.text or "" for element in record.iter() if not len(element)]


def expected(row: ReportRow, count: int) -> list[str]:
    def domain(text: str) -> str:
        return clean(text.lower().removesuffix("."), 255)

    reasons = [text for kind, comment in row.reasons for text in (kind, clean(comment)) if comment]
    signatures = [
        text
        for name, selector, result, human in row.dkim
        for text in (domain(name), clean(selector) or "none", result, clean(human))
    ]
    return [
        *(row.source_ip, str(count), row.disposition, "pass", "fail", *reasons),
        *(domain(row.envelope_to), domain(row.envelope_from), domain(row.header_from)),
        *(*signatures, domain(row.spf_domain) or "none", "mfrom", row.spf_result),
    ]
