"""Failure reports from the kept sample to the mail that Postfix takes, with a real store, DNS and SMTP."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes

import pytest
from sqlalchemy import update

from appliance.lab.nameserver import Behaviour, NameServer
from appliance.store import failure_intake, failures, keys, suppression
from appliance.store.engine import Store, open_store
from appliance.store.failure_samples import FailureSample
from appliance.store.failures import FailureRow
from appliance.store.keys import Algorithm
from appliance.store.reports import JobStatus
from appliance.store.schema import failure
from reporting.bounces import TAKEN, Bounces
from reporting.failure_jobs import send_failures
from reporting.failure_sending import GIVE_UP_AFTER, FailureResult
from tests.failing import NOW, PERSONAL, failing_settings, samples_of
from tests.reporting.notices import notice
from tests.reporting.reader import read_failure
from tests.reporting.samples import save
from tests.reporting.sink import Sink, StartSink, Taken
from tests.reporting.test_signed_reports import in_use, verified

[SAMPLE] = samples_of()
[RAW] = samples_of(settings=failing_settings(failure_redaction=False))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SENT, REFUSED, DISCARDED = JobStatus.SENT, JobStatus.REFUSED, JobStatus.DISCARDED
NOBODY = ("127.0.0.1", 1)


@dataclass
class Desk:
    """A gateway's store, the DNS and the world; time is what *now* says."""

    store: Store
    nameserver: NameServer
    sink: Sink
    now = NOW

    def publish(self, ruf: str = "f@bank.test", *, domain: str = "bank.test", more: str = "") -> None:
        uris = ",".join(f"mailto:{address}" for address in ruf.split())
        self.nameserver.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=reject; ruf={uris}{more}")

    def keep(self, *samples: FailureSample) -> None:
        """As the filter does, now."""
        with self.store.begin() as connection:
            came = [replace(sample, received_at=self.now) for sample in samples]
            failure_intake.add(connection, came, room=1000)

    def send(self, listener: tuple[str, int] | None = None) -> list[FailureResult]:
        """One run of the job; whatever had to wait before comes up."""
        with self.store.begin() as connection:
            connection.execute(update(failure).values(lease_owner=None, lease_until=None))
        place = listener or self.sink.place
        return send_failures(self.store, nameserver=self.nameserver.address, listener=place, now=self.now)

    def one(self) -> FailureResult:
        [result] = self.send()
        return result

    def rows(self) -> list[FailureRow]:
        with self.store.read() as connection:
            return failures.recent(connection, 1000)[::-1]


@pytest.fixture
def desk(store: Store, nameserver: NameServer, start_sink: StartSink) -> Desk:
    save(store, failing_settings())
    made = Desk(store, nameserver, start_sink())
    made.publish()
    return made


def domain_below(number: int) -> FailureSample:
    return replace(SAMPLE, author_domain=f"d{number}.bank.test")


def incidents(taken: Taken) -> int:
    return int(read_failure(taken.octets).get("incidents", 1))


# ---- one report -----------------------------------------------------------------


def test_a_failure_is_reported_to_the_address_that_its_record_names(desk: Desk) -> None:
    desk.keep(SAMPLE)

    result = desk.one()

    assert (result.status, result.accepted, result.reason) == (SENT, ("f@bank.test",), "")
    [taken] = desk.sink.taken()
    [row] = desk.rows()
    read = read_failure(taken.octets)
    assert (read["reported_domain"], read["original_envelope_id"]) == ("bank.test", "4ZqK1x2y3zABCDE")
    assert message_from_bytes(taken.octets)["To"] == "f@bank.test"
    assert taken.mail_from.startswith(f"bounces+{row.report_id}.")
    assert taken.mail_from.endswith("@gateway.test")
    assert row.copies["f@bank.test"].outcome == "accepted"
    assert row.copies["f@bank.test"].mail_from == taken.mail_from


def test_ruf_10_what_is_sent_tells_nothing_personal_and_each_receiver_has_codes_of_its_own(
    desk: Desk,
) -> None:
    desk.publish("f@bank.test g@bank.test h@mail.bank.test")
    desk.keep(SAMPLE)

    assert desk.one().accepted == ("f@bank.test", "g@bank.test", "h@mail.bank.test")

    octets = {taken.recipient: taken.octets for taken in desk.sink.taken()}
    senders = {address: read_failure(one)["original_mail_from"] for address, one in octets.items()}
    assert senders["f@bank.test"] == senders["g@bank.test"] != senders["h@mail.bank.test"]
    for one in octets.values():
        assert [word for word in PERSONAL if word.encode() in one.lower()] == []
    assert senders["f@bank.test"].encode() not in octets["h@mail.bank.test"]


def test_ruf_10_codes_are_the_same_in_the_next_report(desk: Desk) -> None:
    save(desk.store, failing_settings(failure_per_destination=5))
    for _ in range(2):
        desk.keep(SAMPLE)
        assert desk.one().status is SENT
        desk.now += HOUR

    one, other = desk.sink.taken()
    assert read_failure(one.octets)["original_mail_from"] == read_failure(other.octets)["original_mail_from"]


def test_ruf_08_it_is_signed_with_every_key_in_use_as_the_receiver_gets_it(desk: Desk) -> None:
    made = in_use(desk.store, desk.nameserver, *Algorithm)
    desk.keep(SAMPLE)

    desk.one()

    [taken] = desk.sink.taken()
    header = taken.octets.partition(b"\r\n\r\n")[0]
    assert header.count(b"DKIM-Signature:") == len(Algorithm)
    assert verified(taken.octets, made)[: len(Algorithm)] == [True] * len(Algorithm)


# ---- who gets none --------------------------------------------------------------


@pytest.mark.parametrize("off", [{"failure_enabled": False}, {"enabled": False}], ids=str)
def test_ruf_01_nothing_goes_out_while_it_is_switched_off(desk: Desk, off: dict[str, bool]) -> None:
    desk.keep(SAMPLE)
    save(desk.store, failing_settings(**off))

    assert desk.send() == []
    assert desk.sink.taken() == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"denied_domains": ["bank.test"]}, "on the list of domains never reported to"),
        ({"gate": "listed"}, "not on the list of domains always reported to"),
        ({"gate": "established"}, "seen on 0 of the last 30 days; it takes 2"),
        ({"gate": "reciprocal"}, "no mail accepted in the last 30 days"),
    ],
)
def test_ruf_01_the_gate_decides(desk: Desk, settings: dict[str, object], reason: str) -> None:
    save(desk.store, failing_settings(**settings))
    desk.keep(SAMPLE)

    result = desk.one()

    assert (result.status, result.reason, desk.sink.taken()) == (REFUSED, reason, [])
    assert desk.rows()[0].reason == reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("v=DMARC1; p=reject; rua=mailto:f@bank.test", "its record no longer asks for failure reports"),
        (
            "v=DMARC1; p=reject; ruf=mailto:f@bank.test; psd=y",
            "its record no longer asks for failure reports",
        ),
        ("v=spf1 -all", "its record no longer asks for failure reports"),
    ],
)
def test_ruf_02_what_the_record_says_at_sending_time_counts(desk: Desk, record: str, reason: str) -> None:
    desk.keep(SAMPLE)
    desk.nameserver.zone.txt("_dmarc.bank.test", record)

    result = desk.one()

    assert (result.status, result.reason, desk.sink.taken()) == (DISCARDED, reason, [])


def test_ruf_03_a_host_outside_gets_it_only_when_it_agreed_ext_04(desk: Desk) -> None:
    desk.publish("f@vendor.test g@victim.test h@bank.test")
    desk.nameserver.zone.txt("bank.test._report._dmarc.vendor.test", "v=DMARC1")
    desk.keep(SAMPLE)

    result = desk.one()

    assert result.accepted == ("f@vendor.test", "h@bank.test")
    assert result.reason == "victim.test did not agree to reports about bank.test"


def test_ext_05_an_agreeing_host_may_name_another_ruf_but_not_by_its_rua(desk: Desk) -> None:
    desk.publish("f@vendor.test g@other.test")
    zone = desk.nameserver.zone
    zone.txt(
        "bank.test._report._dmarc.vendor.test", "v=DMARC1; rua=mailto:x@vendor.test; ruf=mailto:y@vendor.test"
    )
    zone.txt("bank.test._report._dmarc.other.test", "v=DMARC1; ruf=mailto:y@third.test")
    desk.keep(SAMPLE)

    result = desk.one()

    assert result.accepted == ("y@vendor.test",)
    assert result.reason == "other.test redirects reports to another host"


def test_ruf_01_none_to_our_own_domain_or_to_a_dead_address(desk: Desk) -> None:
    desk.publish("dmarc@gateway.test dead@bank.test")
    desk.nameserver.zone.txt("bank.test._report._dmarc.gateway.test", "v=DMARC1")
    with desk.store.begin() as connection:
        suppression.suppress(connection, "dead@bank.test", None, "it bounced")
    desk.keep(SAMPLE)

    result = desk.one()

    assert result.status is REFUSED
    assert "gateway.test is our own domain" in result.reason
    assert "an address at bank.test is on the suppression list" in result.reason


# ---- how many -------------------------------------------------------------------


def test_ruf_04_more_of_the_same_within_the_hour_are_counted_in_the_next_report(desk: Desk) -> None:
    desk.keep(SAMPLE)
    first = desk.send()
    desk.keep(*[SAMPLE] * 20)
    within_the_hour = desk.send()
    desk.now += HOUR
    desk.keep(SAMPLE, SAMPLE)
    capped = desk.one()
    desk.now += DAY
    desk.keep(SAMPLE)
    next_day = desk.one()

    assert [result.status for result in (*first, capped, next_day)] == [SENT, REFUSED, SENT]
    assert within_the_hour == []
    assert capped.reason == "an address had 1 today about bank.test"
    assert sorted(incidents(taken) for taken in desk.sink.taken()) == [1, 23]
    assert [row.incidents - row.reported for row in desk.rows()] == [0, 0, 0]


def test_ruf_04_each_author_domain_has_its_own_share_of_an_address(desk: Desk) -> None:
    save(desk.store, failing_settings(failure_per_destination=2))
    for _ in range(3):
        desk.keep(SAMPLE, domain_below(1))
        desk.send()
        desk.now += HOUR

    assert [row.status for row in desk.rows()].count(SENT) == 4
    assert len(desk.sink.taken()) == 4


def test_ruf_04_no_more_a_day_in_all_than_is_set_counting_every_address(desk: Desk) -> None:
    save(desk.store, failing_settings(failure_per_day=5))
    desk.publish("f@bank.test g@bank.test")
    desk.keep(*map(domain_below, range(4)))

    desk.send()

    rows = desk.rows()
    assert len(desk.sink.taken()) == 5
    assert sorted(row.status for row in rows) == [REFUSED, SENT, SENT, SENT]
    beyond = "5 failure reports went out today, and no more may"
    assert sorted(row.reason for row in rows) == ["", "", beyond, beyond]


def test_ruf_04_several_nodes_together_stay_within_the_caps(desk: Desk) -> None:
    save(desk.store, failing_settings(failure_per_day=6))
    desk.keep(*map(domain_below, range(20)))

    def run(_: int) -> list[FailureResult]:
        with closing(open_store(desk.store.url)) as own:
            return send_failures(
                own, nameserver=desk.nameserver.address, listener=desk.sink.place, now=desk.now
            )

    with ThreadPoolExecutor(3) as nodes:
        done = [result.row_id for results in nodes.map(run, range(3)) for result in results]

    assert sorted(done) == sorted(row.id for row in desk.rows())
    assert len(desk.sink.taken()) == 6


# ---- trouble --------------------------------------------------------------------


def test_ext_06_what_the_dns_can_not_tell_now_waits_and_is_given_up_after_a_day(desk: Desk) -> None:
    desk.nameserver.zone.misbehave("_dmarc.bank.test", Behaviour.SERVFAIL)
    desk.keep(SAMPLE)

    waiting = desk.one()
    desk.now += GIVE_UP_AFTER + HOUR
    given_up = desk.one()

    assert waiting.status is JobStatus.PENDING
    assert given_up.status is DISCARDED
    assert given_up.reason.startswith("given up after a day: ")
    assert desk.send() == []


def test_what_has_to_wait_does_not_come_up_in_every_run(desk: Desk) -> None:
    desk.nameserver.zone.misbehave("_dmarc.bank.test", Behaviour.SERVFAIL)
    desk.keep(SAMPLE)
    desk.send()

    place, address = desk.sink.place, desk.nameserver.address

    assert send_failures(desk.store, nameserver=address, listener=place, now=desk.now) == []


def test_f13_a_repeated_report_has_the_same_octets_whatever_changed_since(
    desk: Desk, start_sink: StartSink
) -> None:
    deferring = start_sink("-r", "DATA")
    in_use(desk.store, desk.nameserver, Algorithm.RSA)
    desk.keep(SAMPLE)

    [deferred] = desk.send(deferring.place)
    [row] = desk.rows()
    with desk.store.read() as connection:
        message = failures.message(connection, row.id)
    save(desk.store, failing_settings(organization="Other", address="other@gateway.test"))
    for key in keys.rotate(desk.store, "gateway.test", actor="ann", now=NOW):
        with desk.store.begin() as connection:
            keys.activate(connection, key, actor="ann", now=NOW)
    desk.keep(SAMPLE)
    desk.now += HOUR
    sent = desk.one()

    assert (deferred.status, sent.status) == (JobStatus.SENDING, SENT)
    [taken] = desk.sink.taken()
    assert message is not None
    with desk.store.begin() as connection:
        told = failures.redactor(connection).for_receiver(message, "bank.test")
    assert taken.octets.rstrip() == (row.copies["f@bank.test"].head.encode() + told).rstrip()
    assert incidents(taken) == 1


def test_f13_while_postfix_is_away_the_report_waits(desk: Desk) -> None:
    desk.keep(SAMPLE)

    [waiting] = desk.send(NOBODY)
    sent = desk.one()

    assert (waiting.status, waiting.accepted) == (JobStatus.SENDING, ())
    assert sent.status is SENT
    assert len(desk.sink.taken()) == 1


def test_f13_an_address_that_postfix_refuses_fails(desk: Desk, start_sink: StartSink) -> None:
    refusing = start_sink("-f", "RCPT")
    desk.keep(SAMPLE)

    [result] = desk.send(refusing.place)

    assert result.status is JobStatus.FAILED
    assert desk.send() == []


def test_ruf_10_what_was_taken_down_without_redaction_does_not_go_out_once_that_is_on(desk: Desk) -> None:
    desk.keep(RAW)

    result = desk.one()

    assert (result.status, desk.sink.taken()) == (DISCARDED, [])
    assert result.reason == "taken down before redaction was switched on"


def test_ruf_10_without_redaction_the_report_tells_the_header_as_it_was(desk: Desk) -> None:
    save(desk.store, failing_settings(failure_redaction=False))
    desk.keep(RAW)

    desk.one()

    [taken] = desk.sink.taken()
    assert b"harriet.quimby@bank.test" in taken.octets
    assert b"Received: from ann-pc.inner.corp" in taken.octets


def test_old_rows_that_nobody_looked_at_are_not_reported_any_more(desk: Desk) -> None:
    desk.keep(SAMPLE)
    desk.now += 2 * DAY

    result = desk.one()

    assert (result.status, result.reason, desk.sink.taken()) == (DISCARDED, "older than a day", [])


def test_bnc_03_an_address_that_sends_a_failure_report_back_gets_no_more(desk: Desk) -> None:
    desk.keep(SAMPLE, domain_below(1))
    [first, _] = desk.send()
    taken = desk.sink.taken()[0]

    answer = Bounces(desk.store, clock=lambda: NOW).take("", taken.mail_from, notice(recipient="f@bank.test"))
    desk.keep(domain_below(2))
    after = desk.one()

    assert answer == TAKEN
    assert first.status is SENT
    assert (after.status, len(desk.sink.taken())) == (REFUSED, 2)
    assert "on the suppression list" in after.reason
