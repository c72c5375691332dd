"""The form of RFC 7489: a filter on the newer one, made where somebody may want it (standards.md section 12)."""

import gzip
import io
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.settings import ReportForm
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup, ReportRow
from reporting.aggregate_check import InvalidReport, check_report
from reporting.aggregate_xml import NAMESPACE, write_report
from reporting.attachment import Attachment
from reporting.jobs import build_day
from reporting.legacy import form_for
from reporting.period import utc_day
from tests.reporting.samples import (
    DAY,
    GROUP,
    NEXT_MORNING,
    ORIGIN,
    PUBLISHED,
    ROW,
    SPOOF,
    count,
    save,
    settings,
)

HOSTILE = f'x" xmlns="{NAMESPACE}"'


def written(form: ReportForm, *rows: ReportRow, group: PolicyGroup = GROUP) -> ET.Element:
    attachment = Attachment(form, None)
    totals = write_report(attachment, ORIGIN, group, utc_day(DAY), [(row, 2) for row in rows])
    assert attachment.close() == totals
    return ET.fromstring(gzip.decompress(attachment.xml_gz))


def legacy(*rows: ReportRow, group: PolicyGroup = GROUP) -> ET.Element:
    return written(ReportForm.LEGACY, *rows, group=group)


def names(element: ET.Element | None) -> list[str]:
    assert element is not None
    return [child.tag for child in element]


def test_the_older_form_has_its_elements_in_its_order_and_no_others_agg_21() -> None:
    root = legacy(ROW, SPOOF, group=PolicyGroup("bank.test", replace(PUBLISHED, error="no p tag")))

    assert root.tag == "feedback"
    assert names(root) == ["version", "report_metadata", "policy_published", "record", "record"]
    assert names(root.find("report_metadata")) == [
        "org_name",
        "email",
        "extra_contact_info",
        "report_id",
        "date_range",
        "error",
    ]
    assert names(root.find("policy_published")) == ["domain", "adkim", "aspf", "p", "sp", "pct", "fo"]
    assert root.findtext("policy_published/pct") == "100"


@pytest.mark.parametrize(
    ("row", "path", "expected"),
    [
        pytest.param(ROW, "row/policy_evaluated/disposition", ["none"], id="pass is none"),
        pytest.param(SPOOF, "row/policy_evaluated/disposition", ["quarantine"], id="quarantine stays"),
        pytest.param(
            SPOOF, "row/policy_evaluated/reason/type", ["mailing_list", "other"], id="test mode is other"
        ),
        pytest.param(
            SPOOF, "row/policy_evaluated/reason/comment", ["list header fields", "t=y"], id="comment"
        ),
        pytest.param(
            replace(ROW, spf_result="policy"),
            "auth_results/spf/result",
            ["neutral"],
            id="SPF policy is neutral",
        ),
        pytest.param(
            replace(ROW, dkim=(("a.test", "s", "policy", "small key"),)),
            "auth_results/dkim/result",
            ["policy"],
            id="DKIM policy stays",
        ),
        pytest.param(
            replace(ROW, dkim=(("a.test", "s", "policy", "small key"),)),
            "auth_results/dkim/human_result",
            ["small key"],
            id="DKIM human_result stays",
        ),
    ],
)
def test_words_that_rfc_7489_does_not_know_have_their_older_ones(
    row: ReportRow, path: str, expected: list[str]
) -> None:
    [record] = legacy(row).iterfind("record")

    assert [found.text for found in record.iterfind(path)] == expected


TEXT = st.text(
    alphabet=st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), max_size=60
)


@given(st.sampled_from((HOSTILE, "<fo>", "<np>x</np>", "&lt;np&gt;", "<?xml?>")) | TEXT, TEXT)
def test_only_markup_changes_whatever_the_values_say_t29(hostile: str, other: str) -> None:
    row = replace(
        SPOOF,
        header_from=other,
        dkim=((f"d{other}", hostile, "fail", hostile),),
        reasons=(("other", hostile),),
    )
    group = PolicyGroup("bank.test", replace(PUBLISHED, fo=hostile, error=other))
    newer = {f"{{{NAMESPACE}}}{name}" for name in ("np", "testing", "discovery_method", "generator")}

    older, new = legacy(row, group=group), written(ReportForm.RFC9990, row, group=group)

    assert leaves(older) == [(tag.partition("}")[2], text) for tag, text in leaves(new) if tag not in newer]


def leaves(root: ET.Element) -> list[tuple[str, str]]:
    """Every value in its order, but for ``pct``, which stands in the older form alone."""
    values: Iterator[ET.Element] = (element for element in root.iter() if not len(element))
    return [(element.tag, element.text or "") for element in values if element.tag != "pct"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        pytest.param(replace(ROW, disposition="delete"), "disposition", id="disposition"),
        pytest.param(replace(ROW, spf_result="hardfail"), "result", id="SPF result"),
        pytest.param(replace(ROW, source_ip="mail.test"), "source_ip", id="source"),
    ],
)
def test_the_older_form_is_checked_by_its_own_schema_agg_01(row: ReportRow, what: str) -> None:
    with pytest.raises(InvalidReport, match=what):
        legacy(row)


def test_neither_form_passes_for_the_other() -> None:
    for form, other in (ReportForm.RFC9990, ReportForm.LEGACY), (ReportForm.LEGACY, ReportForm.RFC9990):
        octets = ET.tostring(written(form, ROW))

        with pytest.raises(InvalidReport):
            check_report(io.BytesIO(octets), other)


# ---- when it is made and for whom ---------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "domain", "form"),
    [
        pytest.param({}, "bank.test", ReportForm.RFC9990, id="default"),
        pytest.param({"format": "legacy"}, "bank.test", ReportForm.LEGACY, id="all"),
        pytest.param({"legacy_domains": ["old.test"]}, "old.test", ReportForm.LEGACY, id="listed"),
        pytest.param({"legacy_domains": ["old.test"]}, "sub.old.test", ReportForm.RFC9990, id="below"),
        pytest.param({"legacy_domains": ["*.old.test"]}, "sub.old.test", ReportForm.LEGACY, id="wildcard"),
    ],
)
def test_the_form_goes_by_the_setting_or_the_destinations_domain(
    changes: dict[str, Any], domain: str, form: ReportForm
) -> None:
    assert form_for(domain, settings(**changes).reports) is form


@pytest.mark.parametrize(
    ("changes", "is_made"),
    [
        pytest.param({}, False, id="nobody wants it"),
        pytest.param({"format": "legacy"}, True, id="all"),
        pytest.param({"legacy_domains": ["old.test"]}, True, id="some may"),
    ],
)
def test_both_forms_are_frozen_under_one_name_where_either_may_be_wanted_agg_32(
    store: Store, changes: dict[str, Any], is_made: bool
) -> None:
    save(store, settings(**changes))
    count(store, ROW)

    [job] = build_day(store, DAY, now=NEXT_MORNING)

    with store.read() as connection:
        newer, older = reports.message(connection, job.id), reports.legacy_message(connection, job.id)
    assert newer is not None
    assert (older is not None) is is_made
    if older is not None:
        assert marks(older) == marks(newer)
        assert xml(newer).startswith(b"<feedback xmlns=")
        assert xml(older).startswith(b"<feedback>")
        assert b"(RFC 7489)" in older


def marks(message: bytes) -> tuple[object, ...]:
    parsed = message_from_bytes(message, policy=SMTP)
    return parsed["Subject"], parsed["Message-ID"], parsed["Date"], attachment(message).get_filename()


def xml(message: bytes) -> bytes:
    octets: bytes = attachment(message).get_content()
    return gzip.decompress(octets).partition(b"\n")[2]


def attachment(message: bytes) -> EmailMessage:
    parsed = message_from_bytes(message, policy=SMTP)
    assert isinstance(parsed, EmailMessage)
    [_, attached] = parsed.iter_parts()
    assert isinstance(attached, EmailMessage)
    return attached
