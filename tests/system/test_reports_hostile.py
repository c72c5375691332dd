"""Records that are made to have us mail victims, or to break out of a mail: real DNS in, real Postfix out (T21, T22, EXT)."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from appliance.lab.mailbox import DeliveredMessage, Mailbox
from appliance.lab.nameserver import Behaviour, NameServer
from appliance.lab.postfix import PostfixInstance
from appliance.store import reports
from appliance.store.engine import Store
from appliance.store.reports import JobStatus, ReportJob
from reporting.jobs import build_day, send_pending
from reporting.mailto import MAX_DESTINATIONS
from tests.postfix import config_below
from tests.reporting.samples import DAY, NEXT_MORNING, ROW, count, save, settings

pytestmark = pytest.mark.system

VICTIM = "victim.test"
"""Never agreed to anything."""
WATCH = "watch.test"
"""Agreed to reports about everybody."""


@dataclass
class Reporter:
    store: Store
    nameserver: NameServer
    postfix: PostfixInstance

    def report(self, **records: str | list[str]) -> dict[str, ReportJob]:
        """Build and send the reports about domains with these records (of ``NAME.test``); all jobs, by name."""
        for name, texts in records.items():
            domain = f"{name}.test"
            count(self.store, replace(ROW, policy_domain=domain, header_from=domain))
            self.nameserver.zone.txt(f"_dmarc.{domain}", *([texts] if isinstance(texts, str) else texts))
        build_day(self.store, DAY, now=NEXT_MORNING)
        listener = ("127.0.0.1", self.postfix.config.report_port)
        send_pending(self.store, nameserver=self.nameserver.address, listener=listener, now=NEXT_MORNING)
        with self.store.read() as connection:
            return {job.policy_domain.removesuffix(".test"): job for job in reports.jobs(connection)}

    def delivered(self) -> tuple[DeliveredMessage, ...]:
        """All that left, once nothing waits any more."""
        deadline = time.monotonic() + 60
        while self.postfix.queue_length():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return Mailbox(self.postfix.outside_maildir).messages()

    def recipients(self) -> list[str]:
        return sorted(message.recipient for message in self.delivered())


@pytest.fixture
def reporter(
    sqlite_store: Store, nameserver: NameServer, tmp_path: Path, requires_postfix: None
) -> Iterator[Reporter]:
    save(sqlite_store, settings())
    nameserver.zone.txt(f"*._report._dmarc.{WATCH}", "v=DMARC1")
    with PostfixInstance(config_below(tmp_path / "postfix", "inside.test")) as postfix:
        yield Reporter(sqlite_store, nameserver, postfix)


def rua(*uris: str) -> str:
    return "v=DMARC1; p=none; rua=" + ",".join(uris)


BAD_URIS = {
    "line": ("mailto:a%0d%0aRCPT%20TO:%3cz@victim.test", "control character"),
    "linedomain": ("mailto:a@watch.test%0d%0aBcc:%20z%40victim.test", "control character"),
    "nul": ("mailto:a%00@watch.test", "control character"),
    "scheme": ("https://watch.test/report", "not a mailto URI"),
    "smtp": ("smtp:a@watch.test", "not a mailto URI"),
    "two": ("mailto:a@watch.test%2Cz@victim.test", "more than one address"),
    "angle": ("mailto:a@watch.test%3E%20NOTIFY=SUCCESS", "domain is no"),
    "literal": ("mailto:a@[127.0.0.1]", "domain is no"),
    "local": ("mailto:root@localhost", "not a host name"),
    "route": ("mailto:@watch.test:z@victim.test", "more than one address"),
    "long": ("mailto:" + "a" * 65 + "@watch.test", "too long"),
    "escape": ("mailto:a%@watch.test", "percent sign"),
    "idn": ("mailto:a@b%C3%BCcher%22.test", "domain is no"),
    "empty": ("mailto:@watch.test", "no local part"),
}


def test_t22_a_uri_that_breaks_out_of_its_place_is_refused_with_a_reason_and_others_still_get_theirs(
    reporter: Reporter,
) -> None:
    """Percent-encoded CR LF and NUL, foreign schemes, quotation, address literals: not one command or field of theirs."""
    jobs = reporter.report(
        **{name: rua(uri) for name, (uri, _) in BAD_URIS.items()},
        mixed=rua(*(uri for uri, _ in BAD_URIS.values() if len(uri) < 60), "mailto:good@watch.test"),
    )

    assert reporter.recipients() == ["good@watch.test"]
    for name, (_, reason) in BAD_URIS.items():
        assert (name, jobs[name].status) == (name, JobStatus.REFUSED)
        assert reason in jobs[name].reason, name
        assert jobs[name].reason.isprintable()
    assert jobs["mixed"].status is JobStatus.SENT
    log = reporter.postfix.log_path.read_text(encoding="utf-8", errors="replace")
    assert VICTIM not in log


def test_t22_odd_but_valid_addresses_arrive_as_they_are_meant_agg_42(reporter: Reporter) -> None:
    jobs = reporter.report(
        comma=rua("mailto:a%2Cb@comma.test"),
        quoted=rua("mailto:%22a%20%5C%22b%22@quoted.test"),
        header=rua("mailto:a@header.test?bcc=z@victim.test&subject=x%0d%0aBcc:%20z@victim.test"),
        upper=rua("MAILTO:A@UPPER.Test!10m"),
        junk=rua(
            "mailto:a@junk.test!99999999999999999999k", "mailto:b@junk.test!!", "mailto:c@junk.test!10x"
        ),
        idn=rua("mailto:a@xn--mnchen-3ya.idn.test"),
        plus=rua("mailto:a+b=c!10m@plus.test"),
    )

    delivered = {message.texts("To")[0]: message for message in reporter.delivered()}

    assert sorted(delivered) == sorted(
        [
            '"a \\"b"@quoted.test',
            '"a,b"@comma.test',
            "A@upper.test",
            "a@header.test",
            "a@junk.test",
            "a@xn--mnchen-3ya.idn.test",
        ]
    )
    assert all(
        not message.texts("Bcc") and len(message.texts("Subject")) == 1 for message in delivered.values()
    )
    assert jobs["plus"].status in {JobStatus.REFUSED, JobStatus.DISCARDED}


def test_t21_no_mail_ever_goes_to_a_host_that_did_not_agree_ext_04(reporter: Reporter) -> None:
    """Victims, hosts that redirect elsewhere, hosts whose name server fails: none of them gets a single mail."""
    zone = reporter.nameserver.zone
    zone.misbehave("broken._report._dmarc.mute.test", Behaviour.SERVFAIL)
    zone.misbehave("silent._report._dmarc.mute.test", Behaviour.SERVFAIL)
    zone.txt("redirect.test._report._dmarc.helper.test", f"v=DMARC1; rua=mailto:z@{VICTIM}")
    zone.txt("spf.test._report._dmarc.other.test", "v=spf1 -all")
    zone.misbehave("broken.test._report._dmarc.mute.test", Behaviour.SERVFAIL)

    jobs = reporter.report(
        direct=rua(f"mailto:z@{VICTIM}", f"mailto:z@mail.{VICTIM}"),
        redirect=rua("mailto:a@helper.test"),
        spf=rua("mailto:a@other.test"),
        broken=rua("mailto:a@mute.test"),
        mixed=rua(f"mailto:z@{VICTIM}", f"mailto:good@{WATCH}"),
    )

    assert reporter.recipients() == [f"good@{WATCH}"]
    assert jobs["direct"].reason == (
        f"{VICTIM} did not agree to reports about direct.test; mail.{VICTIM} did not agree to reports about direct.test"
    )
    assert jobs["redirect"].reason == "helper.test redirects reports to another host"
    assert (jobs["broken"].status, jobs["direct"].status) == (JobStatus.SENDING, JobStatus.REFUSED)
    assert "SERVFAIL" in jobs["broken"].reason, "trouble postpones (EXT-06)"


def test_t21_a_thousand_addresses_are_ten_at_most_and_cost_few_questions_agg_41(reporter: Reporter) -> None:
    """In a record as long as one may be, and in one of 64 kB, which is none."""
    many = ",".join(f"mailto:{number}@m{number}.test" for number in range(1000))
    short = ",".join(f"mailto:{number}@watch.test" for number in range(40))

    jobs = reporter.report(
        huge="v=DMARC1; p=none; rua=" + many,
        full=("v=DMARC1; p=none; rua=" + many)[:4000],
        watch="v=DMARC1; p=none; rua=" + short,
    )

    assert len(reporter.recipients()) == MAX_DESTINATIONS
    assert all(recipient.endswith("@watch.test") for recipient in reporter.recipients())
    assert (jobs["huge"].status, jobs["huge"].reason) == (
        JobStatus.DISCARDED,
        "its record no longer asks for reports",
    )
    assert jobs["full"].status is JobStatus.REFUSED
    assert len(jobs["full"].reason) <= 500
    asked = {query.name for query in reporter.nameserver.queries if "_report._dmarc" in query.name}
    assert len(asked) == MAX_DESTINATIONS
    assert len(reporter.nameserver.queries) < 100


def test_t22_every_address_in_postfixs_log_is_one_that_agreed(reporter: Reporter) -> None:
    """Whatever stands in a record, Postfix hears host names and quoted local parts only."""
    odd = "".join(f"%{octet:02x}" for octet in range(0x20, 0x7F))[: 3 * 60]

    reporter.report(odd=rua(f"mailto:{odd}@odd.test"), plain=rua("mailto:a@plain.test"))

    log = reporter.postfix.log_path.read_text(encoding="utf-8", errors="replace")
    reporter.delivered()
    domains = {found.rpartition("@")[2] for found in re.findall(r" to=<(.*?)>, (?:orig_to|relay)", log)}
    assert domains <= {"odd.test", "plain.test"}
    assert len(reporter.delivered()) == 2
