"""Bounce addresses and what is sent to them: which are ours, for how long, and what becomes of a notice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from appliance.mta.configuration import Configuration, bounces
from appliance.settings import Settings, from_document
from appliance.store import reports, suppression
from appliance.store.engine import Store, store_at
from appliance.store.reports import Attempt, Fate, NewJob
from reporting.bounces import LATER, NOT_OURS, TAKEN, Bounces
from reporting.return_path import ReturnPaths, read_return_path, return_paths
from tests.reporting.notices import notice

NOW = datetime(2026, 3, 5, 0, 40, tzinfo=UTC)
REPORT_ID = "0123456789abcdef0123456789ab"
FROM = "dmarc@gateway.test"
ONE = "one@bank.test"
OTHER = "other@bank.test"


def sent(store: Store, *, handed_over: bool = True) -> int:
    """A report to both addresses."""
    new = NewJob(date(2026, 3, 4), "bank.test", "ab" * 16, 0, 1, REPORT_ID)
    with store.begin() as connection:
        job = reports.plan(connection, new, NOW)
        reports.set_destinations(connection, job.id, [ONE, OTHER], NOW)
        for address in (ONE, OTHER) if handed_over else ():
            reports.add_attempt(connection, job.id, Attempt(NOW, address, "accepted", "250 Ok", "4Zq"))
    return job.id


def path(store: Store, recipient: str = ONE) -> str:
    return return_paths(store, Settings()).of(FROM, REPORT_ID, recipient)


def fates(store: Store, job_id: int) -> dict[str, Fate]:
    with store.read() as connection:
        return {attempt.recipient: attempt.fate for attempt in reports.attempts(connection, job_id)}


def server(store: Store, now: datetime = NOW) -> Bounces:
    return Bounces(store, clock=lambda: now, patience_seconds=0)


# ---- addresses -------------------------------------------------------------------


def test_agg_36_a_return_path_names_report_and_destination_in_the_aligned_domain(sqlite_store: Store) -> None:
    paths = {path(sqlite_store, address) for address in (ONE, OTHER, ONE)}

    assert len(paths) == 2
    for address in paths:
        token = read_return_path(address)
        assert token is not None
        assert token.report_id == REPORT_ID
        local_part, _, domain = address.partition("@")
        assert domain == "gateway.test"
        assert len(local_part) <= 64


def test_the_bounce_domain_of_the_settings_goes_first(sqlite_store: Store) -> None:
    settings = from_document({"reports": {"bounce_domain": "bounces.gateway.test"}})

    address = return_paths(sqlite_store, settings).of(FROM, REPORT_ID, ONE)

    assert address.endswith("@bounces.gateway.test")
    assert settings.reports.is_ours(address)


def test_postfix_s_table_knows_our_return_paths_and_nothing_else(sqlite_store: Store) -> None:
    """The pattern is Postfix's, but one that reads the same here."""
    form = Configuration(hostname="gw.test", inside_domains=("inside.test",), bounce_domain="gateway.test")
    [line] = [line for line in bounces(form).splitlines() if not line.startswith("#")]
    pattern, _, result = line.rpartition(" ")
    ours = path(sqlite_store)

    import re

    known = re.compile(pattern.strip("/"), re.IGNORECASE)

    assert result == "return_path"
    assert known.search(ours)
    assert known.search(ours.upper())
    for other in (
        "bounces@gateway.test",
        "bounces+x@gateway.test",
        ours + ".example",
        "x" + ours,
        ours.replace("gateway.", "gatewayx"),
    ):
        assert not known.search(other)


def test_no_code_is_another_gateway_s() -> None:
    one, other = (ReturnPaths(key).of(FROM, REPORT_ID, ONE) for key in (b"1" * 32, b"2" * 32))

    assert one != other
    assert repr(b"1" * 32) not in repr(ReturnPaths(b"1" * 32))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda p: p.replace(REPORT_ID, "f" * 28), id="another report"),
        pytest.param(lambda p: p.replace("bounces+", "bounce+"), id="another prefix"),
        pytest.param(lambda p: p.replace(".", "", 1), id="no code"),
        pytest.param(lambda p: p.partition(".")[0] + ".0123456789ab@gateway.test", id="a guess"),
        pytest.param(lambda p: p.replace("@", "0@"), id="too long"),
        pytest.param(lambda _: "", id="nothing"),
        pytest.param(lambda _: "bounces+\u0660.\u0660\u0661\ud800@x" * 50, id="not ASCII"),
    ],
)  # fmt: skip
def test_bnc_05_only_true_tokens_are_taken(sqlite_store: Store, spoil: object) -> None:
    sent(sqlite_store)
    assert callable(spoil)
    address = spoil(path(sqlite_store))

    assert server(sqlite_store).check(address) == NOT_OURS
    assert server(sqlite_store).take("", address, notice()) == NOT_OURS


def test_bnc_05_a_destination_cannot_make_the_token_of_another(sqlite_store: Store) -> None:
    """All destinations of a report know its Report-ID; what follows it differs, and needs our key."""
    job_id = sent(sqlite_store)
    own = path(sqlite_store, ONE)

    server(sqlite_store).take("", own, notice(recipient=OTHER))

    assert fates(sqlite_store, job_id) == {ONE: Fate.BOUNCED, OTHER: Fate.UNKNOWN}


@pytest.mark.parametrize(
    "change",
    [pytest.param(str.upper, id="upper case"), pytest.param(lambda a: a.replace("gateway.test", "mx.test"), id="domain")],
)  # fmt: skip
def test_a_token_survives_what_servers_do_to_addresses(sqlite_store: Store, change: object) -> None:
    """Which domain is ours is Postfix's affair."""
    sent(sqlite_store)
    assert callable(change)

    assert server(sqlite_store).check(change(path(sqlite_store))) == TAKEN


@pytest.mark.parametrize(
    ("days", "answer"), [pytest.param(10, TAKEN, id="10 days"), pytest.param(10.001, NOT_OURS, id="more")]
)
def test_bnc_05_a_token_expires(sqlite_store: Store, days: float, answer: str) -> None:
    sent(sqlite_store)

    assert server(sqlite_store, NOW + timedelta(days=days)).check(path(sqlite_store)) == answer


# ---- notices ---------------------------------------------------------------------


def test_bnc_01_a_notice_leads_to_its_destination(store: Store) -> None:
    job_id = sent(store)

    answer = server(store).take("", path(store, OTHER), notice(recipient="elsewhere@bank.test"))

    assert answer == TAKEN
    assert fates(store, job_id) == {ONE: Fate.UNKNOWN, OTHER: Fate.BOUNCED}
    with store.read() as connection:
        [suppressed] = suppression.known(connection)
    assert (suppressed.address, suppressed.until) == (OTHER, NOW + timedelta(days=7))
    assert suppressed.reason == "bounce 1 on 2026-03-05: 5.1.1"


def test_a_notice_that_is_faster_than_we_are_is_asked_to_come_again(sqlite_store: Store) -> None:
    """Postfix may bounce a report before it is written down that Postfix took it."""
    sent(sqlite_store, handed_over=False)
    address = path(sqlite_store)

    assert server(sqlite_store).check(address) == TAKEN
    assert server(sqlite_store).take("", address, notice()) == LATER


def test_a_notice_waits_a_moment_for_its_report_to_be_written_down(sqlite_store: Store) -> None:
    job_id = sent(sqlite_store, handed_over=False)
    patient = Bounces(sqlite_store, clock=lambda: NOW)

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(patient.take, "", path(sqlite_store), notice())
        with sqlite_store.begin() as connection:
            reports.add_attempt(connection, job_id, Attempt(NOW, ONE, "accepted", "250 Ok", "4Zq"))

    assert answer.result() == TAKEN
    assert fates(sqlite_store, job_id) == {ONE: Fate.BOUNCED}


def test_bnc_04_what_people_write_is_taken_and_not_read(sqlite_store: Store) -> None:
    job_id = sent(sqlite_store)

    answer = server(sqlite_store).take("ann@sender.example", path(sqlite_store), notice())

    assert answer == TAKEN
    assert fates(sqlite_store, job_id)[ONE] is Fate.UNKNOWN


def test_without_its_store_it_asks_to_come_again(tmp_path: Path, sqlite_store: Store) -> None:
    sent(sqlite_store)
    address = path(sqlite_store)
    gone = store_at(f"sqlite:///{tmp_path}/none/none.db")

    assert server(gone).check(address) == LATER
    assert server(gone).take("", address, notice()) == LATER
