"""The administrator's weekly summary: what it says, and that one arrives, whatever goes wrong on the way."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from ipaddress import ip_address
from pathlib import Path

import dkim
import pytest

from appliance.node import Node
from appliance.settings import Settings
from appliance.store import (
    deliveries,
    events,
    exceptions,
    keys,
    last_run,
    nodes,
    quarantine,
    report_copies,
    reports,
    suppression,
)
from appliance.store.engine import Store
from appliance.store.keys import Algorithm
from appliance.store.nodes import Count
from appliance.store.records import MessageRecord
from appliance.store.reports import Attempt, Fate, JobStatus, NewJob
from reporting.digest import last_week, send_due_digest
from reporting.digest_text import digest_text
from reporting.texts import WIDTH
from tests.reporting.samples import save, settings
from tests.reporting.sink import Sink, StartSink
from tests.store.samples import ENVELOPE, failing, held, message, passing, skipped

MONDAY = datetime(2026, 3, 9, tzinfo=UTC)
"""The week that ended with it began on 2 March."""
NOW = MONDAY + timedelta(hours=8)
IN_THE_WEEK = MONDAY - timedelta(days=4)
ADDRESS = "postmaster@inside.test"


def node_of(tmp_path: Path, port: int = 1) -> Node:
    return Node.model_validate(
        {"name": "gateway.test", "state": tmp_path, "postfix": {"reports": f"127.0.0.1:{port}"}}
    )


def text_of(store: Store, tmp_path: Path, wanted: Settings, now: datetime = NOW) -> str:
    return digest_text(node_of(tmp_path), store, wanted, last_week(now), now)


def seen(
    records: Iterable[MessageRecord], store: Store, at: datetime = IN_THE_WEEK, client: str = "192.0.2.7"
) -> None:
    envelope = replace(ENVELOPE, received_at=at)
    with store.begin() as connection:
        events.record(
            connection, [replace(one, envelope=envelope, client_ip=ip_address(client)) for one in records]
        )


def job(store: Store, domain: str, status: JobStatus, now: datetime = IN_THE_WEEK) -> int:
    with store.begin() as connection:
        new = NewJob(now.date(), domain, "ab", 0, 1, f"id{domain}".replace(".", ""))
        planned = reports.plan(connection, new, now)
        reports.set_status(connection, planned.id, status, now, reason="as the test wants it")
    return planned.id


# ---- what it says ---------------------------------------------------------------


def test_messages_are_counted_by_result_and_action(store: Store, tmp_path: Path) -> None:
    seen([message(f"{number:012x}", passing()) for number in range(3)], store)
    seen([message("aaaaaaaaaaaa", failing()), skipped("bbbbbbbbbbbb")], store)
    seen([message("cccccccccccc", failing())], store, at=MONDAY)  # not in this week

    lines = text_of(store, tmp_path, settings()).splitlines()

    counted = {line.split()[0]: line.split()[-4:] for line in lines if re.search(r"(\d+ +){3}\d+$", line)}
    assert counted["pass"] == ["3", "0", "0", "0"]
    assert counted["fail"] == ["0", "1", "0", "0"]
    assert counted["not"] == ["1", "0", "0", "0"]
    assert "delivered  quarantined     rejected     deferred" in "\n".join(lines)


def test_t50_failing_author_domains_stand_with_the_number_of_their_clients(
    store: Store, tmp_path: Path
) -> None:
    for number in range(5):
        seen([message(f"{number:012x}", failing("bank.example"))], store, client=f"192.0.2.{number}")
    seen([message("aaaaaaaaaaaa", passing("honest.example"))], store)

    text = text_of(store, tmp_path, settings())

    assert re.search(r"^ +5 +5 +5  bank\.example$", text, re.MULTILINE)
    assert "honest.example" not in text


def test_what_became_of_the_weeks_reports_is_counted(store: Store, tmp_path: Path) -> None:
    for domain, status in (
        ("a.test", JobStatus.SENT),
        ("b.test", JobStatus.SENT),
        ("c.test", JobStatus.FAILED),
        ("d.test", JobStatus.REFUSED),
        ("e.test", JobStatus.BUILT),
    ):
        job(store, domain, status)
    job(store, "late.test", JobStatus.SENT, now=MONDAY)
    with store.begin() as connection:
        report_copies.count_kept_back(connection, IN_THE_WEEK, waiting=2, refused=7)
        report_copies.count_kept_back(connection, MONDAY, refused=1000)

    text = text_of(store, tmp_path, settings())

    assert re.search(r"^  sent +2$", text, re.MULTILINE)
    assert re.search(r"^  failed +1$", text, re.MULTILINE)
    assert re.search(r"^  refused +1$", text, re.MULTILINE)
    assert "7 were not sent because no more may be sent in a day" in text
    assert "2 waited for another day" in text
    assert "1 is built and not sent yet." in text
    assert "dmarcgate report list --status failed" in text


def test_bounces_and_suppressed_addresses_are_told_by_their_domains_alone(
    store: Store, tmp_path: Path
) -> None:
    number = job(store, "bank.test", JobStatus.SENT)
    with store.begin() as connection:
        taken = Attempt(IN_THE_WEEK, "anna@bank.test", "accepted", "250 queued", "4ZqK1")
        reports.add_attempt(connection, number, taken)
        [copy] = deliveries.waiting(connection, IN_THE_WEEK)
        deliveries.learn(connection, copy, deliveries.News(Fate.BOUNCED, "550 gone"), IN_THE_WEEK)
        suppression.suppress(connection, "bert@shop.test", None, "asked for it")
        suppression.suppress(connection, "over@shop.test", IN_THE_WEEK, "long ago")

    text = text_of(store, tmp_path, settings(), now=NOW - timedelta(days=1, hours=8))
    late = text_of(store, tmp_path, settings())

    assert "1 copy came back." in late
    assert "2 addresses get no reports (1 until you change that), at:" in " ".join(text.split())
    assert re.search(r"^ +1  shop\.test$", text, re.MULTILINE)
    for person in ("anna", "bert", "over@"):
        assert person not in text


def test_the_quarantine_is_told_with_what_expires_and_how_full_it_is(store: Store, tmp_path: Path) -> None:
    for number, (age, node) in enumerate(((1, "gateway.test"), (24, "gateway.test"), (29, "other.test"))):
        row = replace(held(f"{number:012x}"), held_at=NOW - timedelta(days=age), node=node)
        with store.begin() as connection:
            quarantine.add(connection, replace(row, size_octets=2_000_000))

    text = text_of(store, tmp_path, settings())

    assert "  3 messages are held." in text
    assert "2 of them are deleted within a week, unless you release them" in text
    assert re.search(r"gateway\.test keeps 4\.0 MB, \d+ % of its room\.", text)
    assert "  other.test keeps 2.0 MB.\n" in text


def test_exceptions_that_expired_or_were_never_met_are_told_without_comments(
    store: Store, tmp_path: Path
) -> None:
    listed = (
        "192.0.2.1 until=2026-03-01 # anna@secret.test",
        "192.0.2.2 # met",
        "198.51.100.0/24 mode=evaluate owner=anna # never met",
    )
    wanted = Settings.model_validate({"verification": {"exceptions": listed}})
    with store.begin() as connection:
        exceptions.count_hits(connection, {"192.0.2.2": 4}, IN_THE_WEEK)

    text = text_of(store, tmp_path, wanted)

    expired, _, unmet = text.partition("EXCEPTIONS")[2].partition("Never met so far")
    assert "192.0.2.1 until=2026-03-01\n" in expired
    assert "198.51.100.0/24 mode=evaluate owner=anna\n" in unmet
    assert "192.0.2.2" not in text
    assert "never met" not in text
    assert "secret" not in text


def test_messages_that_were_not_recorded_are_told(store: Store, tmp_path: Path) -> None:
    with store.begin() as connection:
        for worker, number in (("0", 2), ("1", 3)):
            counters = {Count.UNRECORDED.value: number, Count.DEATHS.value: 0}
            nodes.heartbeat(connection, "gateway.test", worker, 1, counters, NOW)
        nodes.heartbeat(connection, "gone.test", "0", 1, {Count.BUSY.value: 9}, MONDAY - timedelta(days=60))

    text = text_of(store, tmp_path, settings())

    assert re.search(r"^ +5  messages were handled but not recorded$", text, re.MULTILINE)
    assert "replaced" not in text
    assert "too many came at once" not in text


def test_a_week_without_anything_is_told_in_whole_sentences(store: Store, tmp_path: Path) -> None:
    text = text_of(store, tmp_path, Settings())

    assert text.startswith("DMARC Gate, 2026-03-02 to 2026-03-08 (UTC)\n")
    for sentence in ("None was recorded.", "No message failed.", "0 messages are held."):
        assert f"  {sentence}\n" in text
    assert "Reports are switched off." in text
    assert "EXCEPTIONS" not in text


def test_every_line_fits(store: Store, tmp_path: Path) -> None:
    long = ".".join(["x" * 60] * 4)
    seen([message(f"{number:012x}", failing(long)) for number in range(3)], store)
    with store.begin() as connection:
        suppression.suppress(connection, f"d@{long}", None, "gone")
    listed = [
        f"2001:db8:{part:x}::/48 mode=evaluate from=*.{'y' * 40}.example owner=anna" for part in range(14)
    ]
    wanted = Settings.model_validate({"verification": {"exceptions": listed}})

    text = text_of(store, tmp_path, wanted)

    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert "and 4 more" in text


# ---- that it arrives ------------------------------------------------------------


@pytest.fixture
def wanted(sqlite_store: Store) -> Settings:
    """Settings in force that name the administrator's address."""
    named = settings(digest_address=ADDRESS)
    save(sqlite_store, named)
    return named


def parsed(octets: bytes) -> EmailMessage:
    found = message_from_bytes(octets, policy=SMTP)
    assert isinstance(found, EmailMessage)
    return found


def send(store: Store, tmp_path: Path, sink: Sink, now: datetime = NOW) -> None:
    send_due_digest(node_of(tmp_path, sink.port), store, now=now)


def test_one_summary_a_week_arrives_at_the_address(
    sqlite_store: Store, tmp_path: Path, start_sink: StartSink, wanted: Settings
) -> None:
    sink = start_sink()

    for hours in (-6, 0, 1, 24, 6 * 24):
        send(sqlite_store, tmp_path, sink, NOW + timedelta(hours=hours))

    subjects = [parsed(taken.octets)["Subject"] for taken in sink.taken()]
    assert [taken.recipient for taken in sink.taken()] == [ADDRESS, ADDRESS]
    assert sorted(subjects) == [
        "DMARC Gate: summary of 2026-02-23 to 2026-03-01",  # two hours after midnight the week is not settled
        "DMARC Gate: summary of 2026-03-02 to 2026-03-08",
    ]


def test_nothing_is_sent_where_no_address_is_set(
    sqlite_store: Store, tmp_path: Path, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    sink = start_sink()

    send(sqlite_store, tmp_path, sink)

    assert sink.taken() == []


def test_two_nodes_send_one_summary(store: Store, tmp_path: Path, start_sink: StartSink) -> None:
    save(store, settings(digest_address=ADDRESS))
    sink = start_sink()

    with ThreadPoolExecutor(4) as many:
        list(many.map(lambda _: send(store, tmp_path, sink), range(4)))

    assert len(sink.taken()) == 1


def test_agg_32_a_summary_that_postfix_did_not_take_comes_later_with_the_same_octets(
    sqlite_store: Store, tmp_path: Path, start_sink: StartSink, wanted: Settings
) -> None:
    refusing, sink = start_sink("-r", "RCPT"), start_sink()
    send(sqlite_store, tmp_path, refusing)
    with sqlite_store.read() as connection:
        frozen = last_run.message(connection, "digest")
    seen([message("cccccccccccc", failing())], sqlite_store)  # by now it would say something else

    send(sqlite_store, tmp_path, sink, NOW + timedelta(minutes=5))  # another node's attempt may be under way
    early = sink.taken()
    send(sqlite_store, tmp_path, sink, NOW + timedelta(minutes=15))
    send(sqlite_store, tmp_path, sink, NOW + timedelta(minutes=30))

    [taken] = sink.taken()
    assert early == []
    assert frozen
    assert taken.octets.rstrip() == frozen.rstrip()


def test_a_summary_that_is_refused_for_good_is_not_tried_again(
    sqlite_store: Store, tmp_path: Path, start_sink: StartSink, wanted: Settings
) -> None:
    sink = start_sink()

    send(sqlite_store, tmp_path, start_sink("-f", "RCPT"))
    send(sqlite_store, tmp_path, sink, NOW + timedelta(minutes=15))

    assert sink.taken() == []


def test_agg_36_it_is_an_automatic_message_that_is_signed(
    sqlite_store: Store, tmp_path: Path, start_sink: StartSink, wanted: Settings
) -> None:
    key = keys.generate(sqlite_store, "gateway.test", Algorithm.RSA, actor="tests", now=NOW)
    with sqlite_store.begin() as connection:
        keys.activate(connection, key, actor="tests", now=NOW)
    sink = start_sink()

    send(sqlite_store, tmp_path, sink)

    [taken] = sink.taken()
    mail = parsed(taken.octets)
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["From"].addresses[0].addr_spec == taken.mail_from == "dmarc@gateway.test"
    assert "Reply-To" not in mail
    assert dkim.verify(taken.octets, dnsfunc=lambda *_, **__: key.record.encode())
    assert mail.get_content_type() == "text/plain"
    assert "DMARC Gate, 2026-03-02 to 2026-03-08" in mail.get_content()


def test_a_clock_that_was_far_ahead_delays_no_summary_f11(
    sqlite_store: Store, tmp_path: Path, start_sink: StartSink, wanted: Settings
) -> None:
    sink = start_sink()
    send(sqlite_store, tmp_path, sink, NOW + timedelta(days=3650))

    send(sqlite_store, tmp_path, sink)

    assert len(sink.taken()) == 2
