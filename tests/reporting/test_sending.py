"""One report on its way: frozen, counted, handed over once, and its reasons told (AGG-32, AGG-41 … AGG-44, EXT, T23, F13)."""

import contextlib
import gzip
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes

import pytest
from sqlalchemy import update

from appliance.lab.nameserver import NameServer
from appliance.store import keys, report_copies, reports, suppression
from appliance.store.engine import Store, open_store
from appliance.store.keys import Algorithm
from appliance.store.report_copies import DayOfSending
from appliance.store.reports import JobStatus, ReportJob
from appliance.store.schema import report_job
from reporting.jobs import build_day, send_pending
from reporting.sending import ANOTHER_NODE, GIVE_UP_AFTER, SendResult
from tests.reporting.reader import read_mail
from tests.reporting.samples import DAY, NEXT_MORNING, ROW, count, save, settings
from tests.reporting.sink import Sink, StartSink, Taken

pytestmark = pytest.mark.system

NAMESPACE = b"urn:ietf:params:xml:ns:dmarc-2.0"


def ask(store: Store, nameserver: NameServer, *domains: str, names: Sequence[str] = ("r",)) -> None:
    """Count a message of each of *domains*, whose owner wants reports at addresses of these *names*."""
    for domain in domains:
        count(store, replace(ROW, policy_domain=domain, header_from=domain))
        rua = ",".join(f"mailto:{name}@{domain}" for name in names)
        nameserver.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua={rua}")


def build(store: Store, now: datetime = NEXT_MORNING) -> list[ReportJob]:
    return build_day(store, DAY, now=now)


def send(
    store: Store,
    nameserver: NameServer,
    sink: Sink | tuple[str, int],
    now: datetime = NEXT_MORNING,
    *,
    due_only: bool = False,
    node: str = "one.test",
) -> list[SendResult]:
    listener = sink.place if isinstance(sink, Sink) else sink
    return send_pending(
        store, nameserver=nameserver.address, listener=listener, now=now, due_only=due_only, node=node
    )


def job_of(store: Store, job: ReportJob | SendResult) -> ReportJob:
    with store.read() as connection:
        found = reports.get(connection, job.id if isinstance(job, ReportJob) else job.job_id)
    assert found is not None
    return found


def sending(store: Store, now: datetime = NEXT_MORNING) -> DayOfSending:
    with store.read() as connection:
        return report_copies.day_of_sending(connection, now)


def outcomes(store: Store, job: ReportJob) -> list[tuple[str, str]]:
    with store.read() as connection:
        return [(attempt.recipient, attempt.outcome) for attempt in reports.attempts(connection, job.id)]


def sign_with_a_new_key(store: Store) -> None:
    with store.begin() as connection:
        known = keys.keys(connection, "gateway.test")
    if known:
        [key] = keys.rotate(store, "gateway.test", actor="tests", now=NEXT_MORNING)
    else:
        key = keys.generate(store, "gateway.test", Algorithm.ED25519, actor="tests", now=NEXT_MORNING)
    with store.begin() as connection:
        assert keys.activate(connection, key, actor="tests", now=NEXT_MORNING)


def xml_of(taken: Taken) -> bytes:
    [attached] = [
        part
        for part in message_from_bytes(taken.octets).walk()
        if part.get_content_type() == "application/gzip"
    ]
    payload = attached.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return gzip.decompress(payload)


# ---- what is handed over --------------------------------------------------------


def test_agg_32_a_repeat_is_the_same_whatever_was_changed_since(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    """Frozen before the first attempt: keys, form and bounce address are those of that time."""
    save(sqlite_store, settings(legacy_domains="other.test"))
    sign_with_a_new_key(sqlite_store)
    ask(sqlite_store, nameserver, "bank.test")
    [job] = build(sqlite_store)
    sink = start_sink()

    send(sqlite_store, nameserver, start_sink("-r", "RCPT"))
    with sqlite_store.read() as connection:
        [frozen] = report_copies.copies(connection, job.id).values()
        message = reports.message(connection, job.id)
    sign_with_a_new_key(sqlite_store)
    save(
        sqlite_store,
        settings(
            format="legacy", bounce_domain="bounces.test", address="other@another.test", organization="Other"
        ),
    )
    [sent] = send(sqlite_store, nameserver, sink)

    [taken] = sink.taken()
    assert sent.status is JobStatus.SENT
    assert message is not None
    assert frozen.head.startswith(b"DKIM-Signature: ")
    assert taken.octets.rstrip() == (frozen.head + message).rstrip()
    assert taken.mail_from == frozen.mail_from
    assert taken.mail_from.endswith("@gateway.test")


def test_each_destination_gets_its_report_in_its_form(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings(legacy_domains="old.bank.test"))
    ask(sqlite_store, nameserver, "bank.test")
    nameserver.zone.remove("_dmarc.bank.test")
    nameserver.zone.txt("_dmarc.bank.test", "v=DMARC1; p=none; rua=mailto:r@bank.test,mailto:r@old.bank.test")
    build(sqlite_store)
    sink = start_sink()

    send(sqlite_store, nameserver, sink)

    forms = {taken.recipient: NAMESPACE in xml_of(taken) for taken in sink.taken()}
    assert forms == {"r@bank.test": True, "r@old.bank.test": False}


@pytest.mark.parametrize(
    ("built_as", "sent_as"),
    [
        pytest.param("rfc9990", "legacy", id="no other was built"),
        pytest.param("legacy", "rfc9990", id="both were built"),
    ],
)
def test_a_form_that_is_chosen_before_the_first_attempt_counts_where_it_was_built(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, built_as: str, sent_as: str
) -> None:
    """A form that nobody wanted as the report was built is not made later: the bytes of a report never change."""
    save(sqlite_store, settings(format=built_as))
    ask(sqlite_store, nameserver, "bank.test")
    build(sqlite_store)
    save(sqlite_store, settings(format=sent_as))
    sink = start_sink()

    send(sqlite_store, nameserver, sink)

    [taken] = sink.taken()
    assert NAMESPACE in xml_of(taken)
    read_mail(taken.octets)


def test_agg_36_agg_37_every_copy_says_what_it_is_and_where_bounces_go(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test", names=("a", "b"))
    [job] = build(sqlite_store)
    sink = start_sink()

    send(sqlite_store, nameserver, sink)

    first, second = sink.taken()
    for taken in (first, second):
        head = taken.octets.partition(b"\r\n\r\n")[0].lower()
        assert b"\r\nauto-submitted: auto-generated\r\n" in head
        assert b"\r\nreply-to:" not in head
        assert f"message-id: <{job.report_id}.".encode() in head
        assert taken.mail_from.startswith(f"bounces+{job.report_id}.")
        assert taken.mail_from.endswith("@gateway.test"), "aligned with From (AGG-36)"
    assert first.mail_from != second.mail_from


# ---- how many a day -------------------------------------------------------------


def test_t23_new_destinations_beyond_the_days_limit_wait_for_the_next_day(
    store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(store, settings(new_destinations_per_day=2))
    ask(store, nameserver, *(f"d{number}.test" for number in range(5)))
    build(store)
    sink = start_sink()

    first = send(store, nameserver, sink)
    again = send(store, nameserver, sink)
    soon = send(store, nameserver, sink, NEXT_MORNING + timedelta(hours=12), due_only=True)

    waiting = [result for result in first if result.status is JobStatus.SENDING]
    assert len(sink.taken()) == 2
    assert len(waiting) == 3
    assert all(result.reason.startswith("waits: 2 addresses") for result in waiting)
    assert {job_of(store, r).due_at.date() for r in waiting} == {NEXT_MORNING.date() + timedelta(days=1)}  # type: ignore[union-attr]
    assert ([r.status for r in again], soon) == ([JobStatus.SENDING] * 3, [])
    assert sending(store) == DayOfSending(copies=2, new_destinations=2, waiting=3), (
        "each is counted once a day"
    )

    tomorrow = send(store, nameserver, sink, NEXT_MORNING + timedelta(days=1, hours=2), due_only=True)

    assert sorted(r.status for r in tomorrow) == [JobStatus.SENDING, JobStatus.SENT, JobStatus.SENT]
    assert len(sink.taken()) == 4


def test_t23_who_still_waits_when_the_report_is_too_old_gets_none_and_the_reason_is_kept(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings(new_destinations_per_day=0))
    ask(sqlite_store, nameserver, "bank.test")
    build(sqlite_store)
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink, NEXT_MORNING + GIVE_UP_AFTER)

    assert (result.status, sink.taken()) == (JobStatus.REFUSED, [])
    assert result.reason.startswith("waits: 0 addresses")


def test_known_destinations_are_not_new_the_next_time(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings(new_destinations_per_day=1))
    ask(sqlite_store, nameserver, "bank.test")
    build(sqlite_store)
    sink = start_sink()
    send(sqlite_store, nameserver, sink)
    ask(sqlite_store, nameserver, "bank.test", "shop.test")
    count(sqlite_store, replace(ROW, policy_domain="bank.test"), at=int(NEXT_MORNING.timestamp()))
    count(sqlite_store, replace(ROW, policy_domain="shop.test"), at=int(NEXT_MORNING.timestamp()))
    tomorrow = NEXT_MORNING + timedelta(days=1)
    build_day(sqlite_store, tomorrow.date() - timedelta(days=1), now=tomorrow)

    results = send(sqlite_store, nameserver, sink, tomorrow)

    assert {r.policy_domain: r.status for r in results if r.status is JobStatus.SENT}.keys() == {
        "bank.test",
        "shop.test",
    }
    assert sending(sqlite_store, tomorrow).copies == 2


def test_t23_no_more_copies_than_the_days_limit_and_the_rest_is_refused_counted_and_told(
    store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(store, settings(destinations_per_day=4))
    ask(store, nameserver, "a.test", "b.test", names=("x", "y", "z"))
    build(store)
    sink = start_sink()

    results = send(store, nameserver, sink)
    again = send(store, nameserver, sink, NEXT_MORNING + timedelta(days=1))

    assert [result.status for result in results] == [JobStatus.SENT] * 2, "somebody got each"
    assert [len(result.accepted) for result in results] == [3, 1]
    assert results[1].reason == "not sent: 4 reports went out today, and no more may"
    assert (len(sink.taken()), again) == (4, [])
    assert sending(store) == DayOfSending(copies=4, new_destinations=4, refused=2)


def test_t23_reports_that_could_never_be_sent_are_not_built(store: Store, nameserver: NameServer) -> None:
    save(store, settings(destinations_per_day=3))
    ask(store, nameserver, *(f"d{number}.test" for number in range(8)))

    built = build(store)

    with store.read() as connection:
        jobs = reports.jobs(connection)
    refused = [job for job in jobs if job.status is JobStatus.REFUSED]
    assert (len(built), len(refused)) == (3, 5)
    assert {job.reason for job in refused} == {
        "one of 5 too many: no more than 3 reports may be sent on a day"
    }
    assert sending(store) == DayOfSending(refused=5)


def test_t23_several_nodes_together_keep_to_the_limits(
    store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(store, settings(new_destinations_per_day=5))
    ask(store, nameserver, *(f"d{number:02}.test" for number in range(60)))
    build(store)
    sink = start_sink()

    def node(number: int) -> None:
        with contextlib.closing(open_store(store.url)) as own:
            send(own, nameserver, sink, node=f"node{number}.test")

    with ThreadPoolExecutor(3) as nodes:
        list(nodes.map(node, range(3)))
    send(store, nameserver, sink)

    recipients = [taken.recipient for taken in sink.taken()]
    assert len(recipients) == len(set(recipients)) == 5
    assert sending(store) == DayOfSending(copies=5, new_destinations=5, waiting=55)


# ---- when -----------------------------------------------------------------------


def test_agg_19_each_report_has_a_time_of_its_own_and_goes_out_then(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, *(f"d{number:02}.test" for number in range(30)))
    half_past = NEXT_MORNING.replace(hour=0, minute=30)
    due = sorted(job_of(sqlite_store, job).due_at or NEXT_MORNING for job in build(sqlite_store, half_past))
    sink = start_sink()

    early = send(sqlite_store, nameserver, sink, due[0] - timedelta(microseconds=1), due_only=True)
    some = send(sqlite_store, nameserver, sink, due[9], due_only=True)
    rest = send(sqlite_store, nameserver, sink, half_past.replace(hour=2, minute=0), due_only=True)

    assert (len(early), len(some), len(rest)) == (0, 10, 20)
    assert len(set(due)) == 30
    assert due[-1] - due[0] > timedelta(minutes=20)
    assert len(sink.taken()) == 30


def test_what_was_missed_goes_out_at_once(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test")
    days_later = NEXT_MORNING.replace(hour=0, minute=40) + timedelta(days=2)
    build(sqlite_store, days_later)

    [result] = send(sqlite_store, nameserver, start_sink(), days_later, due_only=True)

    assert result.status is JobStatus.SENT


def test_f13_repeats_become_rarer_while_postfix_takes_nothing_and_end_after_two_days_agg_43(
    sqlite_store: Store, nameserver: NameServer, free_port: Callable[[], int]
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test")
    [job] = build(sqlite_store)
    nobody = ("127.0.0.1", free_port())
    now, tries = NEXT_MORNING + timedelta(hours=1), 0

    while (current := job_of(sqlite_store, job)).status in {JobStatus.BUILT, JobStatus.SENDING}:
        now = max(now, current.due_at or now)
        send(sqlite_store, nameserver, nobody, now, due_only=True)
        tries += 1

    assert current.status is JobStatus.FAILED
    assert f"127.0.0.1:{nobody[1]}" in current.reason
    assert 10 <= tries <= 25
    assert now - NEXT_MORNING >= GIVE_UP_AFTER


# ---- Postfix in trouble (F13) ---------------------------------------------------


@pytest.mark.parametrize(
    ("options", "status"),
    [
        pytest.param(("-Q", "MAIL"), JobStatus.SENDING, id="421 at MAIL"),
        pytest.param(("-Q", "."), JobStatus.SENDING, id="421 after the data"),
        pytest.param(("-q", "."), JobStatus.SENDING, id="closes after the data"),
        pytest.param(("-q", "DATA"), JobStatus.SENDING, id="closes at DATA"),
        pytest.param(("-r", "MAIL"), JobStatus.SENDING, id="452 at MAIL: no room on the disk"),
        pytest.param(("-r", "."), JobStatus.SENDING, id="451 after the data"),
        pytest.param(("-r", "CONNECT"), JobStatus.SENDING, id="greets with 4xx"),
        pytest.param(("-f", "CONNECT"), JobStatus.SENDING, id="greets with 5xx"),
        pytest.param(("-f", "."), JobStatus.FAILED, id="552 after the data"),
        pytest.param(("-f", "RCPT"), JobStatus.FAILED, id="550 at RCPT"),
    ],
)
def test_f13_nothing_counts_as_sent_before_the_250_pain_4(
    sqlite_store: Store,
    nameserver: NameServer,
    start_sink: StartSink,
    options: tuple[str, ...],
    status: JobStatus,
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test")
    [job] = build(sqlite_store)
    sink = start_sink()

    [trouble] = send(sqlite_store, nameserver, start_sink(*options))
    later = send(sqlite_store, nameserver, sink, NEXT_MORNING + timedelta(hours=5), due_only=True)

    assert (trouble.status, trouble.accepted) == (status, ())
    assert trouble.reason
    assert job_of(sqlite_store, job).reason == (trouble.reason if not later else "")
    if status is JobStatus.SENDING:
        assert [result.status for result in later] == [JobStatus.SENT]
        assert len(sink.taken()) == 1
    else:
        assert (later, sink.taken()) == ([], [])


def test_f13_while_postfix_is_down_one_report_is_tried_not_all(
    sqlite_store: Store, nameserver: NameServer, free_port: Callable[[], int]
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, *(f"d{number}.test" for number in range(30)), names=("a", "b"))
    jobs = build(sqlite_store)

    results = send(sqlite_store, nameserver, ("127.0.0.1", free_port()))

    assert [result.is_unreachable for result in results] == [True]
    assert sum(len(outcomes(sqlite_store, job)) for job in jobs) == 1
    assert {job_of(sqlite_store, job).status for job in jobs[1:]} == {JobStatus.BUILT}


# ---- several processes ----------------------------------------------------------


@contextlib.contextmanager
def in_another_thread(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def test_who_was_so_slow_that_another_took_over_sends_nothing(
    store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(store, settings())
    ask(store, nameserver, "bank.test")
    build(store)
    sink = start_sink()
    results: list[SendResult] = []

    nameserver.hold()
    with in_another_thread(lambda: results.extend(send(store, nameserver, sink))):
        while not nameserver.queries:
            time.sleep(0.01)
        with store.begin() as connection:
            connection.execute(update(report_job).values(lease_owner="another"))
        nameserver.release()

    assert (results, sink.taken()) == ([], [])


def test_a_node_leaves_a_hand_over_that_broke_off_to_the_node_whose_log_tells_of_it(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    """For a while: a node that is gone for good must not keep the report back."""
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test")
    [job] = build(sqlite_store)
    send(sqlite_store, nameserver, start_sink("-q", "."), node="one.test")
    sink = start_sink()

    [waiting] = send(sqlite_store, nameserver, sink, node="two.test")
    assert (waiting.status, sink.taken()) == (JobStatus.SENDING, [])
    assert "one.test" in waiting.reason
    with sqlite_store.begin() as connection:
        [copy] = report_copies.copies(connection, job.id).values()
        assert copy.under_way is not None
        before = replace(copy.under_way, at=datetime.now(UTC) - ANOTHER_NODE)
        report_copies.set_under_way(connection, job.id, copy.recipient, before)
    [sent] = send(sqlite_store, nameserver, sink, node="two.test")

    assert (sent.status, len(sink.taken())) == (JobStatus.SENT, 1)


# ---- who gets none --------------------------------------------------------------


def test_a_domain_that_was_denied_after_the_build_gets_nothing(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test")
    build(sqlite_store)
    save(sqlite_store, settings(denied_domains="bank.test"))
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink)

    assert (result.status, sink.taken()) == (JobStatus.REFUSED, [])
    assert result.reason == "on the list of domains never reported to"


def test_a_dated_suppression_is_respected_until_its_day_and_not_longer(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings())
    ask(sqlite_store, nameserver, "bank.test")
    build(sqlite_store)
    with sqlite_store.begin() as connection:
        suppression.suppress(connection, "r@bank.test", NEXT_MORNING + timedelta(hours=1), "bounced")
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink)

    assert (result.status, sink.taken()) == (JobStatus.REFUSED, [])
    assert result.reason == "an address at bank.test is on the suppression list until 2026-03-30"


def test_a_report_that_somebody_got_is_sent_even_if_its_record_is_gone_by_now_agg_44(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(sqlite_store, settings(new_destinations_per_day=1))
    ask(sqlite_store, nameserver, "bank.test", names=("a", "b"))
    build(sqlite_store)
    sink = start_sink()
    send(sqlite_store, nameserver, sink)
    nameserver.zone.remove("_dmarc.bank.test")

    [result] = send(sqlite_store, nameserver, sink, NEXT_MORNING + timedelta(days=1))

    assert (result.status, result.accepted) == (JobStatus.SENT, ("a@bank.test",))
    assert result.reason == "its record no longer asks for reports"
