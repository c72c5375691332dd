"""``dmarcgate report suppress | unsuppress | suppressions``: the list of addresses that get no reports."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from appliance.store import audit
from tests.cli.yesterday import Yesterday
from tests.reporting.sink import StartSink


def listed(yesterday: Yesterday) -> list[dict[str, object]]:
    lines = yesterday.run("suppressions", "--json").out.splitlines()
    return [json.loads(line) for line in lines]


def test_bnc_03_an_address_can_be_put_on_the_list_and_taken_off(
    yesterday: Yesterday, start_sink: StartSink
) -> None:
    yesterday.counted()
    yesterday.published()
    yesterday.build()
    sink = start_sink()

    on = yesterday.run("suppress", "d@bank.test", "--reason", "they asked for it")
    refused = yesterday.run("send", listener=sink.place)
    shown = yesterday.run("suppressions")
    off = yesterday.run("unsuppress", "d@bank.test")

    assert on.out == "d@bank.test gets no reports until you change it\n"
    assert refused.status == 1
    assert sink.taken() == []
    assert shown.out == "d@bank.test  until you change it  they asked for it\n"
    assert off.status == 0
    assert listed(yesterday) == []
    with yesterday.store.read() as connection:
        actions = [(entry.action, entry.subject) for entry in audit.recent(connection)][:2]
    assert actions == [
        ("report address unsuppressed", "d@bank.test"),
        ("report address suppressed", "d@bank.test"),
    ]


def test_a_suppression_holds_for_the_whole_of_its_last_day(yesterday: Yesterday) -> None:
    today = datetime.now(UTC).date()

    done = yesterday.run("suppress", "d@bank.test", "--until", today.isoformat())

    assert done.status == 0
    [one] = listed(yesterday)
    assert one["until"] == f"{today + timedelta(days=1)}T00:00:00+00:00"
    assert one["in_force"] is True


def test_a_day_that_is_over_is_refused(yesterday: Yesterday) -> None:
    done = yesterday.run("suppress", "d@bank.test", "--until", "2020-01-01")

    assert done.status == 2
    assert "--until 2020-01-01 is over already" in done.err
    assert listed(yesterday) == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("D@BANK.Test.", "D@bank.test", id="host in small letters, local part as it is"),
        pytest.param("d@bücher.test", "d@xn--bcher-kva.test", id="A-label"),
        pytest.param('"a,b"@bank.test', '"a,b"@bank.test', id="quoted"),
        pytest.param("50%@bank.test", "50%@bank.test", id="per cent"),
    ],
)
def test_an_address_is_kept_as_reports_name_it(yesterday: Yesterday, given: str, kept: str) -> None:
    yesterday.run("suppress", given)

    assert [one["address"] for one in listed(yesterday)] == [kept]


@pytest.mark.parametrize("given", ["bank.test", "@bank.test", "a b\x1b[2J", "d@", "d@192.0.2.1"])
def test_what_is_no_address_is_refused_in_one_line(yesterday: Yesterday, given: str) -> None:
    done = yesterday.run("suppress", given)

    assert done.status == 2
    assert "is no mail address" in done.err
    assert "\x1b" not in done.err
    assert listed(yesterday) == []


def test_an_address_that_is_not_on_the_list_can_not_be_taken_off(yesterday: Yesterday) -> None:
    done = yesterday.run("unsuppress", "d@bank.test")

    assert done.status == 1
    assert "d@bank.test is not suppressed" in done.err
