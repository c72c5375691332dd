"""``dmarcgate report build | send | list | show``: reports made by hand, and what became of each."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import pytest

from appliance.store import deliveries, reports, suppression
from appliance.store.deliveries import News
from appliance.store.reports import Attempt, Fate, JobStatus
from tests.cli.commands import OnTerminal
from tests.cli.yesterday import Yesterday
from tests.reporting.samples import save, settings
from tests.reporting.sink import StartSink

HOSTILE = "550 no\x1b[2J\x9b31m \u202eeman such"


# ---- build ----------------------------------------------------------------------


def test_build_makes_the_reports_of_a_day_and_tells_them(yesterday: Yesterday) -> None:
    yesterday.counted(times=3)
    yesterday.counted("shop.test")

    built = yesterday.build()
    again = yesterday.build()

    assert (built.status, again.status) == (0, 0)
    first, second = built.out.splitlines()
    assert f"{yesterday.day}  bank.test  built  1 records, 3 messages" in first
    assert "shop.test" in second
    assert again.out == ""
    assert f"nothing was left to build; dmarcgate report list --day {yesterday.day}" in again.err


def test_build_gives_programs_a_line_for_each_report(yesterday: Yesterday) -> None:
    yesterday.counted(times=3)

    built = yesterday.run("build", "--json")

    document = json.loads(built.out)
    assert (document["policy_domain"], document["status"]) == ("bank.test", "built")
    assert (document["records"], document["messages"]) == (1, 3)
    assert document["report_id"] == yesterday.job().report_id


def test_a_report_that_can_not_be_built_is_a_negative_result(yesterday: Yesterday) -> None:
    yesterday.counted("bank.test", source_ip="not an address")

    built = yesterday.build()

    assert built.status == 1
    assert "bank.test  failed" in built.out


@pytest.mark.parametrize("command", ["build", "send"])
def test_s31_while_reports_are_off_the_setting_is_named(yesterday: Yesterday, command: str) -> None:
    save(yesterday.store, settings(enabled=False))
    yesterday.counted()

    done = yesterday.run(command)

    assert done.status == 1
    assert "while reports are switched off; dmarcgate settings set reports.enabled=true" in done.err
    assert yesterday.jobs() == []


def test_a_day_that_is_not_here_yet_is_refused(yesterday: Yesterday) -> None:
    done = yesterday.run("build", "--day", "2999-01-01")

    assert done.status == 2
    assert "2999-01-01 is not here yet" in done.err


def test_a_progress_bar_is_shown_on_a_terminal_and_nowhere_else(
    yesterday: Yesterday, on_terminal: OnTerminal
) -> None:
    for number in range(3):
        yesterday.counted(f"bank{number}.test")

    on_one = on_terminal("report", "build", "--day", yesterday.day.isoformat())
    yesterday.counted("late.test")
    without = yesterday.build()

    assert on_one.status == 0
    assert "building  [####" in on_one.out
    assert "3 of 3 reports, 3 records" in on_one.out
    assert "building" not in without.out + without.err


# ---- send -----------------------------------------------------------------------


def test_send_hands_over_what_waits_and_the_list_shows_the_queue_id(
    yesterday: Yesterday, start_sink: StartSink
) -> None:
    yesterday.counted()
    yesterday.published()
    yesterday.build()
    sink = start_sink()

    sent = yesterday.run("send", listener=sink.place)
    listed = yesterday.run("list")

    assert sent.status == 0
    assert "bank.test  sent  to d@bank.test" in sent.out
    assert [taken.recipient for taken in sink.taken()] == ["d@bank.test"]
    assert "d@bank.test  taken by our Postfix, no bounce so far" in listed.out


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        pytest.param(["-r", "RCPT"], 75, "sending  450", id="451 and the like: tried again"),
        pytest.param(["-f", "RCPT"], 1, "failed  500", id="550 and the like: never"),
    ],
)
def test_f13_sends_exit_status_tells_what_will_be_tried_again_from_what_will_not(
    yesterday: Yesterday, start_sink: StartSink, options: list[str], status: int, told: str
) -> None:
    yesterday.counted()
    yesterday.published()
    yesterday.build()

    sent = yesterday.run("send", listener=start_sink(*options).place)

    assert sent.status == status
    assert told in sent.out


def test_send_tells_when_nothing_waits(yesterday: Yesterday) -> None:
    sent = yesterday.run("send")

    assert (sent.status, sent.out, sent.err) == (0, "", "nothing waits to be sent\n")


def test_a_resolver_that_is_none_is_refused_in_words(yesterday: Yesterday) -> None:
    done = yesterday.run("send", "--resolver", "somewhere")

    assert done.status == 2
    assert "resolver" in done.err
    assert "Traceback" not in done.err


# ---- list and show --------------------------------------------------------------


def test_the_list_is_filtered_and_read_page_by_page(yesterday: Yesterday) -> None:
    for domain in ("a.test", "b.test", "c.test"):
        yesterday.counted(domain)
    yesterday.build()
    first, *_ = yesterday.jobs()
    yesterday.set(first, JobStatus.SENT)

    def domains(*words: str) -> list[str]:
        lines = yesterday.run("list", "--json", *words).out.splitlines()
        return [json.loads(line)["policy_domain"] for line in lines]

    page = yesterday.run("list", "--limit", "2")
    rest = domains("--before", page.err.rpartition(" ")[2].strip())
    assert domains() == ["c.test", "b.test", "a.test"]
    assert domains("--status", "built") == ["b.test", "a.test"]
    assert domains("--domain", "B.TEST.") == ["b.test"]
    assert domains("--day", yesterday.day.isoformat()) == ["c.test", "b.test", "a.test"]
    assert domains("--day", "2020-01-01") == []
    assert [line.split()[2] for line in page.out.splitlines()] == ["c.test", "b.test"]
    assert rest == ["a.test"]


def test_the_list_shows_what_became_of_every_copy(yesterday: Yesterday) -> None:
    yesterday.counted()
    yesterday.build()
    job, now = yesterday.job(), datetime.now(UTC)
    fates = {
        "none@x.test": None,
        "there@x.test": News(Fate.DELIVERED, "2.0.0 ok"),
        "slow@x.test": News(Fate.DEFERRED, "4.2.2 mailbox full"),
        "gone@x.test": News(Fate.BOUNCED, "5.1.1 no such user"),
        "late@x.test": News(Fate.EXPIRED, "4.4.1 timed out"),
    }
    outcomes = {
        "bad@x.test": "refused",
        "many@x.test": "beyond",
        "new@x.test": "waits",
        "busy@x.test": "deferred",
    }
    with yesterday.store.begin() as connection:
        for number, address in enumerate(fates):
            taken = Attempt(now, address, "accepted", f"250 queued as 4Zq{number}", f"4Zq{number}")
            reports.add_attempt(connection, job.id, taken)
        for copy in deliveries.waiting(connection, now - timedelta(hours=1)):
            if news := fates[copy.recipient]:
                deliveries.learn(connection, copy, news, now)
        for address, outcome in outcomes.items():
            reports.add_attempt(connection, job.id, Attempt(now, address, outcome, f"why {outcome}", ""))
        suppression.suppress(connection, "dead@x.test", None, "bounced")
        reports.set_destinations(connection, job.id, ["dead@x.test", "open@x.test"], now)

    listed = yesterday.run("list").out
    document = json.loads(yesterday.run("list", "--json").out)

    told = dict(line.strip().split("  ", 1) for line in listed.splitlines()[1:])
    assert told == {
        "dead@x.test": "suppressed",
        "open@x.test": "not tried yet",
        "none@x.test": "taken by our Postfix, no bounce so far, 4Zq0",
        "there@x.test": "delivered, 4Zq1: 2.0.0 ok",
        "slow@x.test": "put off by the receiver, 4Zq2: 4.2.2 mailbox full",
        "gone@x.test": "bounced, 4Zq3: 5.1.1 no such user",
        "late@x.test": "given up by our Postfix, 4Zq4: 4.4.1 timed out",
        "bad@x.test": "refused by our Postfix: why refused",
        "many@x.test": "not sent, too many on that day: why beyond",
        "new@x.test": "put off to another day: why waits",
        "busy@x.test": "not taken by our Postfix so far: why deferred",
    }
    states = {copy["address"].partition("@")[0]: copy["state"] for copy in document["destinations"]}
    assert states["gone"] == "bounced"
    assert states["none"] == "accepted"
    assert states["many"] == "capped"


def test_a_refusal_of_the_gate_is_listed_with_its_reason(yesterday: Yesterday) -> None:
    save(yesterday.store, settings(gate="established"))
    yesterday.counted()
    yesterday.build()

    listed = yesterday.run("list", "--status", "refused")

    assert "bank.test  refused  seen on 1 of the last 30 days; it takes 2" in listed.out


def test_show_tells_all_attempts(yesterday: Yesterday, start_sink: StartSink) -> None:
    yesterday.counted()
    yesterday.published()
    yesterday.build()
    yesterday.run("send", listener=start_sink("-r", "RCPT").place)
    yesterday.run("send", listener=start_sink().place)

    job = yesterday.job()
    told = yesterday.run("show", str(job.id)).out
    document = json.loads(yesterday.run("show", "--json", str(job.id)).out)

    assert f"Report-ID:     {job.report_id}\n" in told
    assert f"period:        {job.day} 00:00-24:00 UTC\n" in told
    assert told.count("attempt:") == 2
    assert [attempt["outcome"] for attempt in document["attempts"]] == ["deferred", "accepted"]
    assert document["return_paths"]["d@bank.test"].startswith(f"bounces+{job.report_id}.")


def test_show_writes_the_xml_and_the_mail_as_they_were_built(yesterday: Yesterday) -> None:
    yesterday.counted()
    yesterday.build()
    job = yesterday.job()
    with yesterday.store.read() as connection:
        xml_gz, message = reports.xml_gz(connection, job.id), reports.message(connection, job.id)
    assert xml_gz
    assert message

    xml = yesterday.run("show", "--xml", str(job.id)).out
    mail = yesterday.run("show", "--raw", str(job.id)).out

    assert xml.encode() == gzip.decompress(xml_gz)
    assert mail.encode().replace(b"\r\n", b"\n") == message.replace(b"\r\n", b"\n")


def test_a_report_that_is_not_there_is_a_negative_result(yesterday: Yesterday) -> None:
    done = yesterday.run("show", "7")

    assert done.status == 1
    assert "there is no report 7; dmarcgate report list shows them" in done.err


@pytest.mark.parametrize("words", [("list",), ("show", "1"), ("suppressions",)])
def test_t22_nothing_that_a_server_said_steers_the_terminal(
    yesterday: Yesterday, words: tuple[str, ...]
) -> None:
    yesterday.counted()
    yesterday.build()
    job, now = yesterday.job(), datetime.now(UTC)
    with yesterday.store.begin() as connection:
        reports.add_attempt(connection, job.id, Attempt(now, "d@bank.test", "refused", HOSTILE, "4Zq\x1b"))
        reports.set_status(connection, job.id, JobStatus.FAILED, now, reason=HOSTILE)
        suppression.suppress(connection, "d@bank.test", None, HOSTILE)

    told, as_json = yesterday.run(*words), yesterday.run(*words, "--json")

    assert told.status == as_json.status == 0
    assert all(char.isprintable() or char == "\n" for char in told.out + as_json.out)


def test_a_foreign_domain_filter_is_told_to_be_none(yesterday: Yesterday) -> None:
    done = yesterday.run("list", "--domain", "..")

    assert done.status == 2
    assert '--domain ".." is no domain name' in done.err
