"""Facts: what aggregate reports count (RFC 9990)."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from sqlalchemy import select

from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy
from appliance.mail.authentication import DkimResult, DkimWord
from appliance.mail.message import Envelope, Recipient
from appliance.policy import Judgement, Outcome, Override, OverrideType, Row, Verdict
from appliance.store import events, facts
from appliance.store.engine import Store
from appliance.store.facts import PolicyGroup, PublishedPolicy, ReportRow
from appliance.store.records import MessageRecord
from appliance.store.schema import fact_row, published_policy
from tests.store.samples import (
    AUTHENTICATION,
    DAY_BEGIN,
    DAY_END,
    ENVELOPE,
    HOUR,
    NULL_SENDER_SPF,
    RECEIVED_AT,
    failing,
    found,
    message,
    octets,
    passing,
    skipped,
    without_record,
)

DAY = 86_400


def row(record: MessageRecord | None = None) -> ReportRow:
    one = record or message()
    made = facts.row_of(one, one.verdict.judgements[0])
    assert made is not None
    return made


def record(store: Store, *records: MessageRecord) -> None:
    with store.begin() as connection:
        events.record(connection, records)


def add(store: Store, hour: int, *rows: ReportRow) -> None:
    with store.begin() as connection:
        facts.add(connection, hour, rows)


def groups(store: Store, begin: int = DAY_BEGIN, end: int = DAY_END) -> list[PolicyGroup]:
    with store.read() as connection:
        return facts.policy_groups(connection, begin, end)


def counted(
    store: Store, begin: int = DAY_BEGIN, end: int = DAY_END
) -> list[tuple[PolicyGroup, list[tuple[ReportRow, int]]]]:
    with store.read() as connection:
        return [
            (group, list(facts.aggregate_rows(connection, group, begin, end)))
            for group in facts.policy_groups(connection, begin, end)
        ]


def dated(hours: int, event_id: str = "0123456789ab") -> MessageRecord:
    return message(event_id, envelope=replace(ENVELOPE, received_at=RECEIVED_AT + timedelta(hours=hours)))


# ---- what a row says -------------------------------------------------------------


def test_a_row_says_what_a_report_needs_and_no_more() -> None:
    assert row() == ReportRow(
        policy_domain="sender.example",
        published=PublishedPolicy("reject", "reject", "reject", "r", "r", "0", testing=False),
        rua_present=True,
        source_ip="192.0.2.7",
        disposition="pass",
        dkim_aligned=True,
        spf_aligned=True,
        reasons=(),
        header_from="sender.example",
        envelope_from="sender.example",
        envelope_to="inside.example",
        dkim=(("sender.example", "s1", "pass", ""), ("list.example", "k", "fail", "body hash")),
        spf_domain="sender.example",
        spf_scope="mfrom",
        spf_result="pass",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "v=DMARC1; p=quarantine",
            PublishedPolicy("quarantine", "quarantine", "quarantine", "r", "r", "0", testing=False),
            id="AGG-08 sp and np from p",
        ),
        pytest.param(
            "v=DMARC1; p=reject; sp=none",
            PublishedPolicy("reject", "none", "none", "r", "r", "0", testing=False),
            id="AGG-08 np from sp",
        ),
        pytest.param(
            "v=DMARC1; p=reject; np=quarantine; adkim=s; aspf=s; t=y; fo=1:d; ruf=mailto:f@x.example",
            PublishedPolicy("reject", "reject", "quarantine", "s", "s", "1:d", testing=True),
            id="everything given",
        ),
        pytest.param(
            "v=DMARC1; p=reject; fo=1",
            PublishedPolicy("reject", "reject", "reject", "r", "r", "0", testing=False),
            id="AGG-08 fo without ruf",
        ),
        pytest.param(
            "v=DMARC1; p=reject; sp=maybe; rua=mailto:r@x.example",
            PublishedPolicy(
                "none",
                "none",
                "none",
                "r",
                "r",
                "0",
                testing=False,
                error="the sp tag is not none, quarantine or reject",
            ),
            id="DISC-12 misstated policy",
        ),
    ],
)
def test_the_published_policy_has_its_default_values_filled_in(text: str, expected: PublishedPolicy) -> None:
    published = found(text=text)

    assert row(message("0123456789ab", passing(published=published))).published == expected


def test_an_error_never_carries_an_address() -> None:
    """T27: even a tag name that looks like one."""
    published = found(text="v=DMARC1; eve@x.example=\u00e9; p=no; rua=mailto:r@x.example")

    error = row(message("0123456789ab", passing(published=published))).published.error

    assert error
    assert "@" not in error


def test_agg_09_overrides_leave_alignment_as_it_is_and_agg_10_give_the_reason() -> None:
    made = row(message("0123456789ab", failing()))

    assert (made.disposition, made.dkim_aligned, made.spf_aligned) == ("quarantine", False, False)
    assert made.reasons == (("mailing_list", "list header fields"),)


def test_agg_11_a_temporary_error_with_a_record_is_a_row_with_disposition_none() -> None:
    judgement = Judgement(
        Evaluation("sender.example", DmarcWord.TEMPERROR, found(), Policy.REJECT),
        Row.TEMPORARY_ERROR,
        Outcome.DELIVER,
        (Override(OverrideType.OTHER, "temporary DNS error"),),
    )

    made = row(message("0123456789ab", judgement))

    assert made.disposition == "none"
    assert made.reasons == (("other", "temporary DNS error"),)


def test_agg_12_signatures_stand_in_the_order_of_their_worth() -> None:
    order = [
        DkimResult(DkimWord.PASS, "sender.example", "strict"),
        DkimResult(DkimWord.PASS, "mail.sender.example", "relaxed"),
        DkimResult(DkimWord.PASS, "elsewhere.example", "other"),
        DkimResult(DkimWord.FAIL, "sender.example", "broken"),
    ]
    authentication = replace(AUTHENTICATION, dkim=tuple(reversed(order)))

    made = row(replace(message(), authentication=authentication))

    assert [selector for _, selector, _, _ in made.dkim] == ["strict", "relaxed", "other", "broken"]


def test_agg_12_at_most_a_hundred_signatures_are_listed() -> None:
    signatures = tuple(DkimResult(DkimWord.FAIL, f"d{number}.example", "s") for number in range(150))

    made = row(replace(message(), authentication=replace(AUTHENTICATION, dkim=signatures)))

    assert len(made.dkim) == 100


def test_agg_13_the_null_reverse_path_is_empty_and_HELO_stands_in() -> None:  # noqa: N802
    bounce = replace(
        message(envelope=replace(ENVELOPE, mail_from="")),
        authentication=replace(AUTHENTICATION, spf=NULL_SENDER_SPF),
    )

    made = row(bounce)

    assert (made.envelope_from, made.spf_domain, made.spf_scope) == ("", "mx.sender.example", "mfrom")


def test_agg_14_human_results_are_short_and_plain() -> None:
    signature = DkimResult(DkimWord.FAIL, "sender.example", "s", reason="\x1b[1m<eve@x.example> \u00e9" * 30)

    made = row(replace(message(), authentication=replace(AUTHENTICATION, dkim=(signature,))))

    human_result = made.dkim[0][3]
    assert len(human_result) == 200
    assert human_result.isascii()
    assert human_result.isprintable()
    assert "@" not in human_result


def test_agg_15_addresses_are_in_their_shortest_form() -> None:
    address = ip_address("2001:0db8:0000:0000:0000:0000:0000:0001")

    assert row(replace(message(), client_ip=address)).source_ip == "2001:db8::1"


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [
        pytest.param(["a@in.example", "b@IN.example"], "in.example", id="one domain"),
        pytest.param(["a@in.example", "b@other.example"], "", id="two domains"),
        pytest.param(["postmaster"], "", id="no domain"),
        pytest.param([], "", id="no recipient"),
    ],
)
def test_agg_16_the_recipients_domain_is_named_when_they_share_it(
    recipients: list[str], expected: str
) -> None:
    envelope = replace(ENVELOPE, recipients=tuple(map(Recipient, recipients)))

    assert row(message(envelope=envelope)).envelope_to == expected


def test_agg_16_the_recipients_domain_is_left_out_where_reports_may_not_name_it() -> None:
    assert row(message()).envelope_to == "inside.example"
    assert row(replace(message(), recipient_domain=False)).envelope_to == ""


def test_a_MAIL_FROM_that_is_no_domain_is_left_out() -> None:  # noqa: N802
    envelope = replace(ENVELOPE, mail_from=octets(b"eve@\xff\xfe"))

    assert row(message(envelope=envelope)).envelope_from == ""


@pytest.mark.parametrize(
    "uncounted",
    [
        pytest.param(skipped(), id="not verified"),
        pytest.param(message("0123456789ab", without_record()), id="AGG-18 no record"),
        pytest.param(replace(message(), client_ip=None), id="no client address"),
        pytest.param(
            replace(message(), verdict=Verdict(Outcome.DEFER, Row.TEMPORARY_ERROR, judgements=(passing(),))),
            id="AGG-07 deferred",
        ),
        pytest.param(replace(message(), for_reports=False), id="S31 reports are off"),
    ],
)
def test_what_reports_do_not_count_has_an_event_but_no_fact(store: Store, uncounted: MessageRecord) -> None:
    record(store, uncounted)

    assert groups(store) == []
    with store.read() as connection:
        assert events.count(connection) == 1


# ---- counting --------------------------------------------------------------------


def test_agg_06_equal_rows_are_one_row_with_their_count(store: Store) -> None:
    other = replace(message(), client_ip=ip_address("2001:db8::1"))
    record(store, message(), other, message())
    record(store, message())

    [(group, rows)] = counted(store)

    assert group == PolicyGroup("sender.example", row().published)
    assert dict(rows) == {row(): 3, row(other): 1}


def test_a_row_is_read_back_as_it_was_counted(store: Store) -> None:
    made = row(message("0123456789ab", failing()))
    add(store, HOUR, made)

    assert [rows for _, rows in counted(store)] == [[(made, 1)]]


@pytest.mark.parametrize(
    "field", [name for name in ReportRow.__dataclass_fields__ if name not in {"rua_present", "causes_report"}]
)
def test_rows_that_differ_in_one_field_are_counted_apart(store: Store, field: str) -> None:
    one = row()
    other = replace(one, **{field: changed(getattr(one, field))})

    add(store, HOUR, one, other, one)

    assert sorted(count for _, rows in counted(store) for _, count in rows) == [1, 2]


def changed(value: object) -> Any:
    match value:
        case bool():
            return not value
        case str():
            return value + "x"
        case PublishedPolicy():
            return replace(value, testing=True)
        case ():
            return (("other", "why"),)
        case tuple():
            return value[:-1]
        case _:
            raise AssertionError(value)


def test_counts_add_up_over_the_hours_of_a_period_and_no_further(store: Store) -> None:
    record(store, *(dated(hours) for hours in (-11, -10, 0, 0, 13, 14)))

    [(_, rows)] = counted(store)

    assert rows == [(row(), 4)]


def test_a_message_counts_in_the_hour_it_came_in(store: Store) -> None:
    last = replace(
        ENVELOPE, received_at=RECEIVED_AT.replace(hour=10, minute=59, second=59, microsecond=999_999)
    )
    record(store, message(envelope=last))

    assert groups(store, HOUR, HOUR + 3600) != []
    assert groups(store, HOUR + 3600, HOUR + 7200) == []


def test_agg_04_two_policies_of_one_domain_on_one_day_are_two_groups(store: Store) -> None:
    changed = found(text="v=DMARC1; p=none; rua=mailto:r@sender.example")
    record(store, message(), message("0123456789ac", passing(published=changed)))

    both = groups(store)

    assert {group.published.p for group in both} == {"reject", "none"}
    assert len({group.key for group in both}) == 2


def test_agg_05_domains_under_one_record_share_a_group(store: Store) -> None:
    record(store, message("0123456789ab", passing("a.sender.example"), passing("sender.example")))

    [(_, rows)] = counted(store)

    assert sorted(made.header_from for made, _ in rows) == ["a.sender.example", "sender.example"]


def test_agg_18_a_record_that_asks_for_no_reports_gets_no_group(store: Store) -> None:
    silent = found(text="v=DMARC1; p=reject")
    record(store, message("0123456789ab", passing(published=silent)))

    assert groups(store) == []


def test_agg_18_what_came_while_no_reports_were_asked_for_is_not_reported(store: Store) -> None:
    silent = found(text="v=DMARC1; p=reject")
    record(store, message("0123456789ab", passing(published=silent)), message())

    [(_, rows)] = counted(store)

    assert rows == [(row(), 1)]


def test_a_group_is_found_by_the_key_that_its_job_names(store: Store) -> None:
    record(store, message())
    [group] = groups(store)

    with store.read() as connection:
        assert facts.group(connection, group.key) == group
        assert facts.group(connection, "00" * 16) is None


def test_rows_come_in_the_same_order_every_time(store: Store) -> None:
    rows = [replace(row(), source_ip=f"192.0.2.{number}") for number in range(50)]
    add(store, HOUR, *rows)
    add(store, HOUR + 3600, *reversed(rows))

    assert counted(store) == counted(store)
    assert len(counted(store)[0][1]) == 50


def test_more_rows_than_are_fetched_at_once_are_all_there(store: Store) -> None:
    add(store, HOUR, *(replace(row(), source_ip=f"2001:db8::{number:x}") for number in range(2500)))

    [(_, rows)] = counted(store)

    assert len({made.source_ip for made, _ in rows}) == 2500


def test_workers_that_count_the_same_rows_at_once_lose_none_and_never_block_each_other(store: Store) -> None:
    rows = [replace(row(), source_ip=f"192.0.2.{number}") for number in range(20)]

    def work(turn: int) -> None:
        for _ in range(5):
            add(store, HOUR, *(rows if turn % 2 else reversed(rows)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, range(4)))

    [(_, summed)] = counted(store)
    assert sorted(count for _, count in summed) == [20] * 20


def test_events_and_facts_stand_or_fall_together(store: Store) -> None:
    with pytest.raises(KeyError), store.begin() as connection:  # noqa: PT012  the write must come before
        events.record(connection, [message()])
        raise KeyError

    assert groups(store) == []
    with store.read() as connection:
        assert events.count(connection) == 0


def test_T27_the_tables_of_reports_hold_no_address(store: Store) -> None:  # noqa: N802
    """Whatever local parts the envelope, the header, the signatures and the record had."""
    signature = DkimResult(
        DkimWord.PASS, "sender.example", "s1", "eve@sender.example", reason="eve@x.example"
    )
    envelope = Envelope(
        client_ip=ENVELOPE.client_ip,
        client_name="eve@host",
        helo="eve@helo.example",
        mail_from="eve@sender.example",
        recipients=(Recipient("bob@inside.example"),),
        queue_id="Q@1",
        received_at=RECEIVED_AT,
        authenticated_as="eve@login",
    )
    published = found(
        text="v=DMARC1; eve@tag=\x7f; p=bad; rua=mailto:eve@r.example; ruf=mailto:eve@f.example"
    )
    judgement = replace(
        failing(published=published), overrides=(Override(OverrideType.OTHER, "eve@x.example"),)
    )
    one = message("0123456789ab", judgement, envelope=envelope)

    record(store, replace(one, authentication=replace(AUTHENTICATION, dkim=(signature,))))

    with store.read() as connection:
        stored = [
            json.dumps([str(value) for value in found_row])
            for table in (published_policy, fact_row)
            for found_row in connection.execute(select(table))
        ]
    assert len(stored) == 2
    assert not any("@" in text for text in stored)


# ---- what the gate asks ----------------------------------------------------------


def test_days_with_facts_are_counted_by_UTC_day(store: Store) -> None:  # noqa: N802
    for hour in (DAY_BEGIN - 3600, DAY_BEGIN, HOUR, DAY_BEGIN + 3 * DAY):
        add(store, hour, row())

    with store.read() as connection:
        seen = [
            facts.days_seen(connection, "sender.example", DAY_BEGIN - 29 * DAY, DAY_END),
            facts.days_seen(connection, "sender.example", DAY_BEGIN - 29 * DAY, DAY_BEGIN + 4 * DAY),
            facts.days_seen(connection, "sender.example", DAY_BEGIN, DAY_END),
            facts.days_seen(connection, "other.example", DAY_BEGIN, DAY_END),
        ]

    assert seen == [2, 3, 1, 0]


def test_mail_about_mail_counts_and_is_no_day_on_which_a_domain_was_seen_agg_20(store: Store) -> None:
    """It stands in a report that goes out because of other mail (AGG-07), but causes none."""
    bounce = replace(row(), causes_report=False)
    add(store, DAY_BEGIN - DAY, bounce)
    add(store, HOUR, bounce, bounce)
    add(store, HOUR, row())
    [group] = {group.key: group for group, _ in counted(store)}.values()

    with store.read() as connection:
        causes = [
            facts.causes_report(connection, group, day) for day in (DAY_BEGIN // DAY - 1, DAY_BEGIN // DAY)
        ]
        days = facts.days_seen(connection, "sender.example", DAY_BEGIN - 29 * DAY, DAY_END)
        counts = [count for _, count in facts.aggregate_rows(connection, group, DAY_BEGIN, DAY_END)]

    assert (causes, days, counts) == ([False, True], 1, [3])


@pytest.mark.parametrize(
    ("disposition", "accepted"),
    [
        pytest.param("none", True, id="delivered"),
        pytest.param("pass", True, id="passed"),
        pytest.param("quarantine", False, id="quarantined"),
        pytest.param("reject", False, id="rejected"),
    ],
)
def test_a_domain_is_known_by_a_message_that_was_accepted(
    store: Store, disposition: str, *, accepted: bool
) -> None:
    add(store, HOUR, replace(row(), disposition=disposition))

    with store.read() as connection:
        known = facts.accepted_since(connection, "sender.example", HOUR)
        later = facts.accepted_since(connection, "sender.example", HOUR + 1)

    assert (known, later) == (accepted, False)
