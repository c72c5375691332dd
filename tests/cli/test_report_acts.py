"""``dmarcgate report resend | cancel``: what people do about reports, and who did it."""

import json
from datetime import UTC, datetime

import pytest

from appliance.store import audit, deliveries, keys, outbox, reports
from appliance.store.deliveries import News
from appliance.store.engine import Store
from appliance.store.keys import Algorithm
from appliance.store.reports import Fate, JobStatus, ReportJob
from tests.cli.commands import OnTerminal
from tests.cli.yesterday import RECORD, Yesterday
from tests.reporting.samples import save, settings
from tests.reporting.sink import StartSink, Taken


@pytest.fixture
def job(yesterday: Yesterday) -> ReportJob:
    """A report on bank.test that was built; its record names d@bank.test."""
    yesterday.counted()
    yesterday.published()
    yesterday.build()
    return yesterday.job()


def acts(store: Store) -> list[str]:
    with store.read() as connection:
        return [entry.action for entry in audit.recent(connection)]


def bounce(yesterday: Yesterday, recipient: str = "d@bank.test") -> None:
    with yesterday.store.begin() as connection:
        report = deliveries.sent_report(connection, yesterday.job().report_id)
        assert report
        [copy] = [copy for copy in report.copies if copy.recipient == recipient]
        deliveries.learn(connection, copy, News(Fate.BOUNCED, "5.1.1 no such user"), datetime.now(UTC))


# ---- resend ---------------------------------------------------------------------


def test_agg_32_a_bounced_report_goes_out_again_with_the_same_octets_and_ids(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    first, second = start_sink(), start_sink()
    yesterday.run("send", listener=first.place)
    bounce(yesterday)
    yesterday.run("unsuppress", "d@bank.test")
    save(yesterday.store, settings(organization="Another name", address="other@another.test"))
    key = keys.generate(yesterday.store, "gateway.test", Algorithm.RSA, actor="tests", now=datetime.now(UTC))
    with yesterday.store.begin() as connection:
        keys.activate(connection, key, actor="tests", now=datetime.now(UTC))

    done = yesterday.run("resend", str(job.id))
    sent = yesterday.run("send", listener=second.place)

    assert (done.status, sent.status) == (0, 0)
    assert f"report {job.id} goes out with the next run to d@bank.test" in done.out
    assert [_whole(taken) for taken in second.taken()] == [_whole(taken) for taken in first.taken()]
    assert yesterday.job().status is JobStatus.SENT
    assert "report sent again" in acts(yesterday.store)


def _whole(taken: Taken) -> tuple[str, str, bytes]:
    return taken.mail_from, taken.recipient, taken.octets


def test_what_may_have_been_delivered_goes_out_again_only_when_that_is_said(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    sink = start_sink()
    yesterday.run("send", listener=sink.place)

    refused = yesterday.run("resend", str(job.id))
    yesterday.run("send", listener=sink.place)
    before = len(sink.taken())
    wanted = yesterday.run("resend", "--again", str(job.id))
    yesterday.run("send", listener=sink.place)

    assert (refused.status, wanted.status) == (1, 0)
    assert "has not come back; --again sends it once more" in refused.err
    assert before == 1
    assert len(sink.taken()) == 2


def test_only_those_who_do_not_have_it_get_it_again(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    yesterday.published(record=f"{RECORD},mailto:e@bank.test")
    first, second = start_sink(), start_sink()
    yesterday.run("send", listener=first.place)
    bounce(yesterday, "e@bank.test")
    yesterday.run("unsuppress", "e@bank.test")

    done = yesterday.run("resend", "--json", str(job.id))
    yesterday.run("send", listener=second.place)

    assert json.loads(done.out) == {
        "job": job.id,
        "again": ["e@bank.test"],
        "left_alone": ["d@bank.test"],
        "suppressed": [],
    }
    assert [taken.recipient for taken in second.taken()] == ["e@bank.test"]


def test_a_suppressed_address_is_named_with_the_remedy(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    yesterday.run("send", listener=start_sink().place)
    bounce(yesterday)

    done = yesterday.run("resend", str(job.id))

    assert done.status == 0
    assert "d@bank.test is on the suppression list: dmarcgate report unsuppress d@bank.test" in done.err


def test_a_cancelled_report_can_be_sent_after_all(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    yesterday.run("cancel", "--yes", str(job.id))
    sink = start_sink()

    yesterday.run("resend", str(job.id))
    yesterday.run("send", listener=sink.place)

    assert [taken.recipient for taken in sink.taken()] == ["d@bank.test"]


def test_what_was_never_built_can_not_be_sent_again(yesterday: Yesterday) -> None:
    save(yesterday.store, settings(gate="established"))
    yesterday.counted()
    yesterday.build()

    done = yesterday.run("resend", str(yesterday.job().id))

    assert done.status == 1
    assert "is refused and was never built: seen on 1 of the last 30 days" in done.err


# ---- cancel ---------------------------------------------------------------------


def test_a_cancelled_report_is_never_sent(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    sink = start_sink()

    done = yesterday.run("cancel", "--yes", str(job.id))
    yesterday.run("send", listener=sink.place)

    assert done.status == 0
    assert sink.taken() == []
    assert yesterday.job().status is JobStatus.DISCARDED
    assert yesterday.job().reason.startswith("cancelled by ")
    assert "report cancelled" in acts(yesterday.store)


def test_s31_the_unsent_outbox_is_discarded_after_a_question(
    yesterday: Yesterday, on_terminal: OnTerminal, job: ReportJob
) -> None:
    yesterday.counted("shop.test")
    yesterday.build()

    declined = on_terminal("report", "cancel", "--unsent", answer="n")
    kept = [job.status for job in yesterday.jobs()]
    agreed = on_terminal("report", "cancel", "--unsent", answer="y")

    assert "Discard 2 reports that are not sent yet?" in declined.out
    assert (declined.status, agreed.status) == (1, 0)
    assert kept == [JobStatus.BUILT, JobStatus.BUILT]
    assert [job.status for job in yesterday.jobs()] == [JobStatus.DISCARDED, JobStatus.DISCARDED]


def test_s31_without_a_terminal_the_outbox_is_discarded_only_when_that_is_said(
    yesterday: Yesterday, job: ReportJob
) -> None:
    asked = yesterday.run("cancel", "--unsent")
    said = yesterday.run("cancel", "--unsent", "--yes", "--json")

    assert (asked.status, said.status) == (2, 0)
    assert "if this is meant, say --yes" in asked.err
    assert json.loads(said.out) == {"cancelled": 1, "being_worked_on": 0}


def test_more_than_one_transaction_takes_are_all_discarded(
    yesterday: Yesterday, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        yesterday.counted(f"bank{number}.test")
    yesterday.build()
    monkeypatch.setattr(outbox, "MOST_AT_ONCE", 2)

    done = yesterday.run("cancel", "--unsent", "--yes")

    assert done.out == "5 reports are cancelled\n"
    assert {job.status for job in yesterday.jobs()} == {JobStatus.DISCARDED}


@pytest.mark.parametrize("words", [("cancel", "--yes"), ("resend",)], ids=["cancel", "resend"])
def test_a_report_that_is_being_sent_is_left_alone_for_now(
    yesterday: Yesterday, job: ReportJob, words: tuple[str, ...]
) -> None:
    with yesterday.store.begin() as connection:
        reports.claim_job(connection, "another", datetime.now(UTC))

    done = yesterday.run(*words, str(job.id))

    assert done.status == 75
    assert "just being worked on; try again in a few minutes" in done.err
    assert yesterday.job().status is JobStatus.BUILT


def test_a_sent_report_can_not_be_cancelled(
    yesterday: Yesterday, start_sink: StartSink, job: ReportJob
) -> None:
    yesterday.run("send", listener=start_sink().place)

    done = yesterday.run("cancel", "--yes", str(job.id))

    assert done.status == 1
    assert "is sent: nothing is left to cancel" in done.err


@pytest.mark.parametrize("words", [(), ("--unsent", "3")], ids=["neither", "both"])
def test_cancel_wants_to_know_which(yesterday: Yesterday, words: tuple[str, ...]) -> None:
    done = yesterday.run("cancel", *words)

    assert done.status == 2
    assert "say which: a report's ID, or --unsent" in done.err


def test_s31_switching_reports_off_names_what_waits_and_how_to_discard_it(
    yesterday: Yesterday, job: ReportJob
) -> None:
    off = yesterday.gate("settings", "set", "reports.enabled=false")
    yesterday.run("cancel", "--unsent", "--yes")
    yesterday.gate("settings", "set", "reports.enabled=true")
    nothing_waits = yesterday.gate("settings", "set", "reports.enabled=false")

    assert off.status == nothing_waits.status == 0
    assert "1 report is not sent yet" in off.err
    assert "dmarcgate report cancel --unsent" in off.err
    assert "cancel" not in nothing_waits.err
