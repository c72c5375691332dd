"""From messages as the filter records them to the report that a receiver's program reads."""

import gzip
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from typing import Any

import pytest

from appliance.checks.spf import spf_identity
from appliance.dmarc.evaluation import evaluate
from appliance.dmarc.record import DmarcRecord, parse_record
from appliance.mail.authentication import (
    ArcResult,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfWord,
)
from appliance.mail.author import find_author
from appliance.mail.message import Envelope, Message, Recipient, split_message
from appliance.policy import LocalPolicy
from appliance.settings import from_document
from appliance.store import events, facts, reports
from appliance.store.engine import Store
from appliance.store.facts import ReportRow
from appliance.store.records import MessageRecord
from appliance.store.schema import fact, fact_day, fact_folded, fact_row, published_policy
from reporting.jobs import build_day
from tests.reporting.reader import read_mail
from tests.reporting.samples import DAY, NEXT_MORNING, save, settings

POLICY = LocalPolicy(from_document({"verification": {"enabled": True}}), revision=1)
RECORDS = {
    "bank.test": "v=DMARC1; p=reject; sp=quarantine; rua=mailto:d@bank.test",
    "list.test": "v=DMARC1; p=quarantine; adkim=s; t=y; fo=1; rua=mailto:d@list.test; ruf=mailto:f@list.test",
    "typo.test": "v=DMARC1; p=rejekt; rua=mailto:d@typo.test",
    "quiet.test": "v=DMARC1; p=reject",
}
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
UNSIGNED: tuple[DkimResult, ...] = ()


def record_at(domain: str) -> DmarcRecord | None:
    text = RECORDS.get(domain)
    return parse_record(text.encode()) if text else None


def judged(
    number: int,
    author_domain: str,
    *,
    at: datetime = NOON,
    mail_from: str = "a@elsewhere.test",
    spf: SpfWord = SpfWord.NONE,
    dkim: tuple[DkimResult, ...] = UNSIGNED,
    header: bytes = b"",
    helo: str = "mail.elsewhere.test",
) -> MessageRecord:
    """A message as it is recorded after the checks said *spf* and *dkim*."""
    envelope = Envelope(
        client_ip=ip_address("2001:db8::7"),
        client_name="mail.elsewhere.test",
        helo=helo,
        mail_from=mail_from,
        recipients=(Recipient("secret.person@inside.test"),),
        queue_id=f"4Q{number}",
        received_at=at,
    )
    authentication = Authentication(
        SpfResult(spf, spf_identity(helo, mail_from).domain), dkim, ArcResult(ArcWord.NONE)
    )
    evaluation = evaluate(author_domain, authentication.spf, dkim, record_at, lambda: True)
    fields, body = split_message(b"From: someone.else@" + author_domain.encode() + b"\r\n" + header + b"\r\n")
    message = Message(envelope, fields, body)
    verdict = POLICY.decide([evaluation], message, envelope.client_ip, author=find_author(message))
    return MessageRecord(
        event_id=f"{number:012x}",
        node="gateway",
        revision=1,
        envelope=envelope,
        client_ip=envelope.client_ip,
        message_id="<secret@inside.test>",
        subject="secret",
        header_from=f"someone.else@{author_domain}",
        size_octets=1000,
        authentication=authentication,
        verdict=verdict,
    )


def signed(domain: str, word: DkimWord = DkimWord.PASS) -> tuple[DkimResult, ...]:
    return (
        DkimResult(word, domain, "s1"),
        DkimResult(DkimWord.FAIL, "list.example", "k", reason="body hash"),
    )


MESSAGES = [
    judged(1, "bank.test", dkim=signed("bank.test")),
    judged(2, "bank.test", dkim=signed("mail.bank.test")),
    judged(3, "bank.test"),
    judged(4, "news.bank.test", mail_from="b@bank.test", spf=SpfWord.PASS),
    judged(5, "news.bank.test", header=b"List-Id: <l.list.example>\r\n"),
    judged(6, "bank.test", spf=SpfWord.TEMPERROR, mail_from="x@bank.test"),
    judged(7, "bank.test", mail_from=""),
    judged(8, "list.test", dkim=signed("mail.list.test")),
    judged(9, "list.test", dkim=signed("", DkimWord.PERMERROR)),
    judged(10, "typo.test"),
    judged(11, "quiet.test"),
    judged(12, "unpublished.test"),
    *(judged(100 + number, "bank.test", dkim=signed("bank.test")) for number in range(20)),
]


def mails(store: Store) -> dict[str, bytes]:
    """The mail of each report of the day, by policy domain."""
    built = build_day(store, DAY, now=NEXT_MORNING)
    with store.read() as connection:
        return {job.policy_domain: reports.message(connection, job.id) or b"" for job in built}


def test_a_reader_of_reports_finds_the_messages_without_a_warning(store: Store) -> None:
    save(store, settings())
    with store.begin() as connection:
        events.record(connection, MESSAGES)

    found = {domain: read_mail(message) for domain, message in mails(store).items()}

    assert {d: sum(r["count"] for r in report["records"]) for d, report in found.items()} == {
        "bank.test": 27,
        "list.test": 2,
        "typo.test": 1,
    }
    errors = {domain: report["report_metadata"]["errors"] for domain, report in found.items()}
    assert errors == {
        "bank.test": [],
        "list.test": [],
        "typo.test": ["the p tag is not none, quarantine or reject"],
    }
    bank = found["bank.test"]["policy_published"]
    assert (bank["p"], bank["sp"], bank["np"], bank["fo"], bank["testing"]) == (
        "reject",
        "quarantine",
        "quarantine",
        "0",
        "n",
    )
    assert found["list.test"]["policy_published"]["testing"] == "y"
    metadata = found["bank.test"]["report_metadata"]
    assert (metadata["begin_date"], metadata["end_date"]) == ("2026-03-29 00:00:00", "2026-03-29 23:59:59")
    rows = found["bank.test"]["records"]
    assert sorted(
        (row["policy_evaluated"]["disposition"], row["alignment"]["dmarc"], row["count"], reasons_of(row))
        for row in rows
    ) == [
        ("none", False, 1, [("other", "temporary DNS error")]),
        ("pass", True, 1, []),
        ("pass", True, 1, []),
        ("pass", True, 21, []),
        ("quarantine", False, 1, []),
        ("reject", False, 1, []),
        ("reject", False, 1, []),
    ]


def reasons_of(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (reason["type"], reason["comment"]) for reason in row["policy_evaluated"]["policy_override_reasons"]
    ]


def test_no_local_part_and_nothing_of_one_message_gets_into_a_report_t27_agg_22(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    with sqlite_store.begin() as connection:
        events.record(connection, MESSAGES)

    texts = [gzip.decompress(attachment_of(message)) for message in mails(sqlite_store).values()]

    assert len(texts) == 3
    for text in texts:
        assert b"secret" not in text
        assert b"someone.else" not in text
        assert b"4Q" not in text
        assert text.count(b"@") == 1  # our own address


AGGREGATE_TABLES = (published_policy, fact_row, fact, fact_day, fact_folded)


def test_no_aggregate_table_holds_an_address_t27_agg_14(store: Store) -> None:
    """Mail with local parts wherever mail can have some, and wherever somebody could put one."""
    secret = "jane.doe@private.test"
    signature = DkimResult(
        DkimWord.FAIL, "list.test", "k", reason=f"i= names {secret}", identity=secret, algorithm="rsa-sha256"
    )
    hidden = [
        judged(1, "bank.test", mail_from=secret, spf=SpfWord.FAIL),
        judged(2, "bank.test", mail_from="", helo=secret),
        judged(3, "bank.test", dkim=(signature, *signed("bank.test"))),
        judged(4, "typo.test", mail_from=f'"{secret}"@list.test'),
        judged(
            5,
            "list.test",
            header=b"List-Id: " + secret.encode() + b"\r\nReply-To: " + secret.encode() + b"\r\n",
        ),
        judged(6, "bank.test", mail_from=f"SRS0=x=y=private.test=jane.doe@{secret}"),
    ]
    with store.begin() as connection:
        events.record(connection, hidden)
        facts.add(
            connection, 0, [replace(row, source_ip="192.0.2.9") for row in rows_of(hidden)], most_new_rows=0
        )

    with store.read() as connection:
        found = [row for table in AGGREGATE_TABLES for row in connection.execute(table.select())]

    texts = [value for row in found for value in row if isinstance(value, str)]
    assert len(texts) > 12
    assert [text for text in texts if "@" in text or "jane" in text] == []


def rows_of(records: Iterable[MessageRecord]) -> list[ReportRow]:
    made = (facts.row_of(record, judgement) for record in records for judgement in record.verdict.judgements)
    return [row for row in made if row is not None]


def attachment_of(message: bytes) -> bytes:
    parsed = message_from_bytes(message, policy=SMTP)
    assert isinstance(parsed, EmailMessage)
    content: bytes = list(parsed.iter_parts())[1].get_content()
    return content


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def local_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    try:
        yield
    finally:
        monkeypatch.undo()
        time.tzset()


def test_messages_around_midnight_land_in_their_own_utc_day_pain_9(
    sqlite_store: Store, local_time: None
) -> None:
    save(sqlite_store, settings())
    midnight = datetime(2026, 3, 30, tzinfo=UTC)
    moments = [timedelta(microseconds=-1), timedelta(0), timedelta(hours=23, minutes=59), timedelta(days=1)]
    with sqlite_store.begin() as connection:
        events.record(
            connection,
            [judged(number, "bank.test", at=midnight + moment) for number, moment in enumerate(moments)],
        )

    days = [DAY + timedelta(days=number) for number in range(3)]
    built = [build_day(sqlite_store, day, now=NEXT_MORNING) for day in days]

    assert [[job.messages for job in jobs] for jobs in built] == [[1], [2], [1]]
    assert [jobs[0].begin for jobs in built] == [
        int((midnight + timedelta(days=number)).timestamp()) for number in (-1, 0, 1)
    ]
