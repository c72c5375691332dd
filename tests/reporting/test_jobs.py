"""Reports from the counted facts to the mail that Postfix takes, with a real store, DNS and SMTP."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from appliance.lab.nameserver import Behaviour, NameServer
from appliance.store import reports, suppression
from appliance.store.engine import Store, open_store
from appliance.store.reports import JobStatus, ReportJob
from reporting.jobs import CATCH_UP_DAYS, build_day, build_due, send_pending
from reporting.sending import GIVE_UP_AFTER, SendResult
from tests.reporting.samples import DAY, HOUR, MIDNIGHT, NEXT_MORNING, ROW, SPOOF, count, save, settings
from tests.reporting.sink import Sink, StartSink

RECORD = "v=DMARC1; p=reject; rua=mailto:d@bank.test"
AGREED = "v=DMARC1"


def build(store: Store) -> list[ReportJob]:
    return build_day(store, DAY, now=NEXT_MORNING)


def send(store: Store, nameserver: NameServer, sink: Sink, now: datetime = NEXT_MORNING) -> list[SendResult]:
    return send_pending(store, nameserver=nameserver.address, listener=sink.place, now=now)


def stored(store: Store, job_id: int) -> ReportJob:
    with store.read() as connection:
        job = reports.get(connection, job_id)
    assert job
    return job


def all_jobs(store: Store) -> list[ReportJob]:
    with store.read() as connection:
        return reports.jobs(connection, 10_000)


# ---- building -------------------------------------------------------------------


def test_a_report_is_built_for_each_policy_domain_and_policy_agg_03_agg_04(store: Store) -> None:
    save(store, settings())
    stricter = replace(ROW.published, adkim="s")
    for row in (ROW, SPOOF, replace(ROW, published=stricter), replace(ROW, policy_domain="shop.test")):
        count(store, row, times=2)

    built = build(store)

    assert sorted((job.policy_domain, job.rows, job.messages) for job in built) == [
        ("bank.test", 1, 2),
        ("bank.test", 2, 4),
        ("shop.test", 1, 2),
    ]
    assert {job.status for job in built} == {JobStatus.BUILT}
    assert len({job.report_id for job in built}) == 3


def test_a_second_build_on_the_same_day_makes_no_second_report_pain_5(store: Store) -> None:
    save(store, settings())
    count(store, ROW)
    [first] = build(store)
    count(store, ROW, at=MIDNIGHT + 13 * HOUR)

    again = build(store)

    assert again == []
    assert all_jobs(store) == [first]


def test_no_report_without_rua_agg_18(store: Store) -> None:
    save(store, settings())
    count(store, replace(ROW, rua_present=False))

    assert build(store) == []
    assert all_jobs(store) == []


def test_nothing_is_built_while_reports_are_off_s31(store: Store) -> None:
    count(store, ROW)

    assert build(store) == []
    assert all_jobs(store) == []


def test_the_gates_refusal_is_stored_with_its_reason_pain_1(store: Store) -> None:
    save(store, settings(gate="established"))
    count(store, ROW)

    assert build(store) == []
    [job] = all_jobs(store)
    assert job.status is JobStatus.REFUSED
    assert job.reason == "seen on 1 of the last 30 days; it takes 2"


def test_a_domain_seen_on_two_days_of_the_last_thirty_is_established(store: Store) -> None:
    save(store, settings(gate="established"))
    count(store, ROW)
    count(store, SPOOF, at=MIDNIGHT - 29 * 24 * HOUR)

    [job] = build(store)

    assert job.status is JobStatus.BUILT


def test_an_earlier_day_than_the_last_thirty_does_not_establish_a_domain(store: Store) -> None:
    save(store, settings(gate="established"))
    count(store, ROW)
    count(store, ROW, at=MIDNIGHT - 29 * 24 * HOUR - 1)

    assert build(store) == []


def test_a_report_that_does_not_fit_the_schema_fails_and_is_never_sent_agg_01(
    store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(store, settings())
    count(store, replace(ROW, disposition="delete"))
    count(store, replace(ROW, policy_domain="shop.test"))
    nameserver.zone.txt("_dmarc.bank.test", RECORD)
    nameserver.zone.txt("_dmarc.shop.test", "v=DMARC1; p=none; rua=mailto:d@shop.test")
    sink = start_sink()

    broken, sound = build(store)
    send(store, nameserver, sink)

    assert (broken.status, sound.status) == (JobStatus.FAILED, JobStatus.BUILT)
    assert "delete" in broken.reason
    assert [taken.recipient for taken in sink.taken()] == ["d@shop.test"]


def test_missed_days_are_caught_up_and_reported_one_by_one(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    for days_ago in range(10):
        count(sqlite_store, ROW, at=MIDNIGHT - days_ago * 24 * HOUR)

    built = build_due(sqlite_store, now=NEXT_MORNING)

    assert [(DAY - job.day).days for job in built] == list(reversed(range(CATCH_UP_DAYS)))


def test_a_day_is_not_built_before_it_has_settled(sqlite_store: Store) -> None:
    save(sqlite_store, settings())
    count(sqlite_store, ROW)
    ten_past_midnight = NEXT_MORNING.replace(hour=0, minute=10)

    assert build_due(sqlite_store, now=ten_past_midnight) == []


def test_two_nodes_at_once_build_and_send_every_report_once(
    store: Store, nameserver: NameServer, start_sink: StartSink
) -> None:
    save(store, settings())
    for number in range(12):
        domain = f"bank{number:02}.test"
        count(store, replace(ROW, policy_domain=domain))
        nameserver.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=none; rua=mailto:d@{domain}")
    sink = start_sink()

    def node(_: int) -> tuple[int, int]:
        with closing(open_store(store.url)) as own:
            return len(build(own)), len(send(own, nameserver, sink))

    with ThreadPoolExecutor(3) as nodes:
        counts = list(nodes.map(node, range(3)))
    send(store, nameserver, sink)  # what was built after a node had begun to send

    assert sum(built for built, _ in counts) == 12
    assert [job.status for job in all_jobs(store)] == [JobStatus.SENT] * 12
    assert [taken.recipient for taken in sink.taken()] == [f"d@bank{number:02}.test" for number in range(12)]


# ---- sending --------------------------------------------------------------------


@pytest.fixture
def job(sqlite_store: Store, nameserver: NameServer) -> ReportJob:
    """A report on bank.test that was built; its record names d@bank.test."""
    save(sqlite_store, settings())
    count(sqlite_store, ROW)
    nameserver.zone.txt("_dmarc.bank.test", RECORD)
    [built] = build(sqlite_store)
    return built


def test_every_destination_gets_a_copy_of_its_own(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    nameserver.zone.txt("_dmarc.bank.test", RECORD + ",mailto:b@watch.test")
    nameserver.zone.txt("bank.test._report._dmarc.watch.test", AGREED)
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink)

    first, second = sink.taken()
    assert (result.status, result.accepted) == (JobStatus.SENT, ("d@bank.test", "b@watch.test"))
    assert (first.recipient, second.recipient) == ("b@watch.test", "d@bank.test")
    assert first.octets.partition(b"\r\n")[2] == second.octets.partition(b"\r\n")[2]
    assert first.mail_from != second.mail_from
    assert stored(sqlite_store, job.id).destinations == ("d@bank.test", "b@watch.test")


def test_what_was_sent_is_not_sent_again(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    sink = start_sink()
    send(sqlite_store, nameserver, sink)

    again = send(sqlite_store, nameserver, sink)

    assert again == []
    assert len(sink.taken()) == 1


def test_a_deferred_report_is_sent_later_with_the_same_octets_agg_32(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    with sqlite_store.read() as connection:
        message = reports.message(connection, job.id)
    assert message
    sink = start_sink()

    [deferred] = send(sqlite_store, nameserver, start_sink("-r", "RCPT"))
    save(sqlite_store, settings(organization="Another name", address="other@another.test"))
    [sent] = send(sqlite_store, nameserver, sink)

    [taken] = sink.taken()
    assert (deferred.status, sent.status) == (JobStatus.SENDING, JobStatus.SENT)
    assert deferred.reason.startswith("450")
    assert taken.octets.rstrip() == (b"To: d@bank.test\r\n" + message).rstrip()
    assert taken.mail_from.endswith("@gateway.test")


def test_only_those_who_did_not_take_it_get_it_again(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    sink = start_sink()
    nameserver.zone.txt("_dmarc.bank.test", RECORD + ",mailto:b@watch.test")
    permission = "bank.test._report._dmarc.watch.test"
    nameserver.zone.txt(permission, AGREED)
    nameserver.zone.misbehave(permission, Behaviour.SERVFAIL)

    [waiting] = send(sqlite_store, nameserver, sink)
    nameserver.zone.behave(permission)
    [sent] = send(sqlite_store, nameserver, sink)

    assert (waiting.status, sent.status) == (JobStatus.SENDING, JobStatus.SENT)
    assert waiting.accepted == ("d@bank.test",)
    assert [taken.recipient for taken in sink.taken()] == ["b@watch.test", "d@bank.test"]


def test_a_final_refusal_fails_the_report_with_the_reply(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    [result] = send(sqlite_store, nameserver, start_sink("-f", "RCPT"))

    assert (result.status, result.reason) == (JobStatus.FAILED, "500 5.3.0 Error: command failed")
    assert send(sqlite_store, nameserver, start_sink()) == []


def test_the_dns_not_answering_postpones_without_any_mail_t21(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    nameserver.zone.misbehave("_dmarc.bank.test", Behaviour.SERVFAIL)
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink)

    assert (result.status, sink.taken()) == (JobStatus.SENDING, [])
    assert "SERVFAIL" in result.reason


def test_what_could_not_be_sent_for_two_days_fails_agg_43(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    nameserver.zone.misbehave("_dmarc.bank.test", Behaviour.SERVFAIL)

    [result] = send(
        sqlite_store, nameserver, start_sink(), now=NEXT_MORNING + GIVE_UP_AFTER + timedelta(minutes=1)
    )

    assert result.status is JobStatus.FAILED


@pytest.mark.parametrize(
    ("record", "status"),
    [
        pytest.param(None, JobStatus.DISCARDED, id="record gone AGG-44"),
        pytest.param("v=DMARC1; p=reject", JobStatus.DISCARDED, id="rua gone AGG-44"),
        pytest.param("v=DMARC1; p=none; rua=mailto:v@victim.test", JobStatus.REFUSED, id="no permission T21"),
        pytest.param("v=DMARC1; p=none; rua=mailto:a%0d%0ab@bank.test", JobStatus.REFUSED, id="CR LF T22"),
        pytest.param("v=DMARC1; p=none; rua=mailto:x@inside.test", JobStatus.REFUSED, id="our own pain 22"),
    ],
)
def test_no_mail_leaves_when_nobody_may_get_it(
    sqlite_store: Store,
    nameserver: NameServer,
    start_sink: StartSink,
    job: ReportJob,
    record: str | None,
    status: JobStatus,
) -> None:
    nameserver.zone.remove("_dmarc.bank.test")
    nameserver.zone.txt("bank.test._report._dmarc.inside.test", AGREED)
    if record is not None:
        nameserver.zone.txt("_dmarc.bank.test", record)
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink)

    assert (result.status, sink.taken()) == (status, [])
    assert stored(sqlite_store, job.id).reason == result.reason != ""


def test_a_new_address_in_the_record_is_used_agg_44(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    nameserver.zone.txt("_dmarc.bank.test", "v=DMARC1; p=none; rua=mailto:new@bank.test")
    sink = start_sink()

    send(sqlite_store, nameserver, sink)

    assert [taken.recipient for taken in sink.taken()] == ["new@bank.test"]


def test_a_suppressed_address_gets_nothing(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    with sqlite_store.begin() as connection:
        suppression.suppress(connection, "d@bank.test", None, "bounced")
    sink = start_sink()

    [result] = send(sqlite_store, nameserver, sink)

    assert (result.status, sink.taken()) == (JobStatus.REFUSED, [])


def test_nothing_is_sent_while_reports_are_off(
    sqlite_store: Store, nameserver: NameServer, start_sink: StartSink, job: ReportJob
) -> None:
    save(sqlite_store, settings(enabled=False))
    sink = start_sink()

    assert send(sqlite_store, nameserver, sink) == []
    assert sink.taken() == []
    assert stored(sqlite_store, job.id).status is JobStatus.BUILT
