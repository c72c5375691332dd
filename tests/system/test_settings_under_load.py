"""Mail of all verdicts while workers are killed and settings saved: no message is lost, doubled, or judged by two revisions."""

import contextlib
import itertools
import os
import random
import secrets
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from hashlib import sha256

import pytest
from sqlalchemy import insert, select

from appliance.lab.gateway import AUTHSERV_ID, Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.services import wait_for
from appliance.mail.message import split_message, unfold
from appliance.policy import Outcome
from appliance.settings import InvalidSettings, Settings, from_document
from appliance.store import nodes
from appliance.store import settings as store_settings
from appliance.store.schema import quarantine, settings_revision
from appliance.store.settings import SettingsConflict
from tests.processes import children_of
from tests.system.faults import kill_a_worker_each_second
from tests.system.mixed_mail import EXEMPT, KINDS, NONE, SKIPPED, Mail, Pace, Recorded, lay_out, recorded

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SENDERS = 8
MESSAGES_A_SECOND = 80.0
WRITERS = 4
SAVES_A_SECOND = 20
IN_FORCE_WITHIN = timedelta(seconds=5)

ACTIONS_A = {
    "none": "deliver",
    "quarantine": "quarantine",
    "reject": "reject",
    "no_record": "deliver",
    "temporary_error": "deliver",
    "unusable_from": "quarantine",
}
ACTIONS_B = {
    "none": "quarantine",
    "quarantine": "reject",
    "reject": "deliver",
    "no_record": "reject",
    "temporary_error": "defer",
    "unusable_from": "deliver",
}
HEADER_A, HEADER_B = "X-Judged-A", "X-Judged-B"
BAD_DOCUMENT = {"verification": {"enabled": True, "x_header_name": "no name: at all"}}


def document(header: str, word: str = "") -> Settings:
    """One of two kinds of settings, told by its *header*; *word* makes each revision differ from all others."""
    return from_document(
        {
            "verification": {
                "enabled": True,
                "exceptions": [EXEMPT],
                "x_header": True,
                "x_header_name": header,
                "actions": ACTIONS_A if header == HEADER_A else ACTIONS_B,
                "reject_text": f"Refused (id %{{id}}) {word}",
            }
        }
    )


@dataclass
class Disturbance:
    """What goes on beside the mail, until told to end: killed workers, saved settings, a look at every worker."""

    gateway: Gateway
    over: threading.Event = field(default_factory=threading.Event)
    killed: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    conflicts: int = 0
    refused: int = 0
    seen: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """The revisions that each worker named, in the order of time."""

    def kill(self) -> None:
        self.killed = kill_a_worker_each_second(self.gateway, self.over)

    def save(self, writer: int) -> None:
        pace = Pace(SAVES_A_SECOND / WRITERS)
        for turn in itertools.count():
            pace.wait()
            if self.over.is_set():
                return
            if turn % 10 == 9:
                self._save_bad_document()
            self._save_another(f"writer {writer}")

    def _save_bad_document(self) -> None:
        try:
            from_document(BAD_DOCUMENT)
        except InvalidSettings:
            self.refused += 1

    def _save_another(self, author: str) -> None:
        """Either kind, based on what is in force; like a page that is shown anew after a conflict."""
        settings = document(random.choice((HEADER_A, HEADER_B)), secrets.token_hex(8))
        while True:
            with self.gateway.store.read() as connection:
                current = store_settings.current_number(connection)
            try:
                with self.gateway.store.begin() as connection:
                    saved = store_settings.save(connection, settings, based_on=current, author=author)
            except SettingsConflict:
                self.conflicts += 1
            else:
                self.saved.append(saved.number)
                return

    def look(self) -> None:
        while not self.over.wait(0.1):
            with self.gateway.store.read() as connection:
                for status in nodes.list_nodes(connection):
                    self.seen[status.worker].append(status.revision)


@contextlib.contextmanager
def disturbed(gateway: Gateway, *, kill: bool) -> Iterator[Disturbance]:
    disturbance = Disturbance(gateway)
    with ThreadPoolExecutor(WRITERS + 2) as pool:
        works = [pool.submit(disturbance.save, writer) for writer in range(WRITERS)]
        works += [pool.submit(work) for work in (disturbance.look, *([disturbance.kill] if kill else []))]
        try:
            yield disturbance
        finally:
            disturbance.over.set()
    for work in works:
        work.result()


@dataclass(frozen=True)
class Books:
    """What there is after the run, to be compared with what the clients were told."""

    mails: Sequence[Mail]
    revisions: dict[int, store_settings.Revision]
    delivered: dict[str, list[DeliveredMessage]]
    """By queue ID."""
    copies: Counter[str]
    """How many were delivered, by Message-ID."""
    held: dict[str, bytes]
    """The files of all quarantined messages, by event ID."""
    judged: dict[str, list[Recorded]]
    """The events of each judgement, by event ID."""

    @cached_property
    def by_queue_id(self) -> dict[str, list[list[Recorded]]]:
        found = defaultdict(list)
        for judgement in self.judged.values():
            found[judgement[0].queue_id].append(judgement)
        return dict(found)

    def final(self, mail: Mail) -> list[Recorded]:
        """The judgement that the client's last reply told."""
        if mail.final.code == 250:
            wanted = self.by_queue_id.get(mail.final.queue_id or "", [])
        else:
            wanted = [self.judged[mail.judged[-1]]]
        assert len(wanted) == 1, (mail, wanted)
        return wanted[0]

    def settings(self, judgement: Sequence[Recorded]) -> Settings:
        return self.revisions[judgement[0].revision].settings


def close_the_books(gateway: Gateway, mails: Sequence[Mail]) -> Books:
    wait_for("an empty queue of Postfix", lambda: gateway.postfix.queue_length() == 0, seconds=120)
    files = {path.stem: path.read_bytes() for path in (gateway.directory / "quarantine").rglob("*.eml")}
    with gateway.store.read() as connection:
        newest = store_settings.current_number(connection)
        revisions = {number: store_settings.get(connection, number) for number in range(newest + 1)}
        rows = connection.execute(select(quarantine.c.event_id, quarantine.c.sha256)).all()
    digests = {event_id: digest for event_id, digest in rows}  # noqa: C416  for the type checker
    delivered = defaultdict(list)
    numbers = {mail.message_id for mail in mails}
    for message in gateway.inside.messages():
        if message.message_id in numbers:
            delivered[message.queue_ids[0]].append(message)
    judged = defaultdict(list)
    for event in recorded(gateway):
        if event.message_id in numbers:
            judged[event.event_id].append(event)
    assert {event_id: sha256(files[event_id]).hexdigest() for event_id in digests} == digests
    return Books(
        mails,
        revisions,
        dict(delivered),
        Counter(message.message_id or "" for found in delivered.values() for message in found),
        {event_id: files[event_id] for event_id in digests},
        dict(judged),
    )


def wanted_outcome(settings: Settings, kind_rows: Sequence[str]) -> str:
    """What *settings* make of a message whose author domains meet these rows."""
    actions = settings.verification.actions.model_dump(mode="json")
    outcomes = [Outcome(actions.get(row, "deliver")) for row in kind_rows]
    return max(outcomes, key=lambda outcome: outcome.severity).value


def marks(octets: bytes) -> dict[str, list[str]]:
    """The values of every field that could be ours."""
    names = ("Authentication-Results", HEADER_A, HEADER_B)
    fields, _ = split_message(octets)
    return {
        name: [unfold(f.value) for f in fields if f.is_named(name.lower().encode("ascii"))] for name in names
    }


def assert_marked_by_one_revision(mail: Mail, octets: bytes, settings: Settings, outcome: str) -> None:
    """Ours are exactly those of the revision; the forged field of the other kind of revision is left as it came."""
    found = marks(octets)
    own = settings.verification.x_header_name
    other = HEADER_B if own == HEADER_A else HEADER_A
    assert found[other] == ["forged"], (mail, found)
    if mail.kind is SKIPPED:
        assert found[own] == found["Authentication-Results"] == [], (mail, found)
    else:
        [results], [value] = found["Authentication-Results"], found[own]
        assert results.startswith(f"{AUTHSERV_ID};"), (mail, results)
        assert "forged.test" not in results, (mail, results)
        assert f"action={outcome}" in value, (mail, value)


def assert_every_message_has_one_fate(books: Books) -> None:
    for mail in books.mails:
        judgement = books.final(mail)
        event_id, outcome = judgement[0].event_id, judgement[0].outcome
        delivered = books.delivered.get(judgement[0].queue_id, [])
        copies = books.copies[mail.message_id]
        assert sorted(event.row for event in judgement) == sorted(mail.kind.rows), (mail, judgement)
        assert {event.revision for event in judgement} == {judgement[0].revision}, (mail, judgement)
        assert outcome == wanted_outcome(books.settings(judgement), mail.kind.rows), (mail, judgement)
        match outcome:
            case "deliver":
                assert (mail.final.code, len(delivered), copies) == (250, 1, 1), mail
                assert_marked_by_one_revision(mail, delivered[0].octets, books.settings(judgement), outcome)
            case "quarantine":
                assert (mail.final.code, copies) == (250, 0), mail
                assert_marked_by_one_revision(mail, books.held[event_id], books.settings(judgement), outcome)
            case "reject":
                word = books.settings(judgement).verification.reject_text.rpartition(" ")[2]
                assert (mail.final.code, copies) == (550, 0), mail
                assert mail.final.text.endswith(word), mail
            case _:
                pytest.fail(f"{mail} ended as {outcome}")


def surplus(books: Books) -> int:
    """How many judgements no client was told of; each message has at most one for each time its worker was killed."""
    total = 0
    by_message = defaultdict(list)
    for judgement in books.judged.values():
        by_message[judgement[0].message_id].append(judgement)
    for mail in books.mails:
        told = {books.final(mail)[0].event_id, *mail.judged}
        untold = [found for found in by_message[mail.message_id] if found[0].event_id not in told]
        assert len(untold) <= mail.interrupted, (mail, untold)
        total += len(untold)
    return total


def longest_delay(books: Books) -> timedelta:
    """How long at most a worker went on judging by a revision after the next had been saved."""
    delays = [timedelta()]
    for judgement in books.judged.values():
        after = books.revisions.get(judgement[0].revision + 1)
        if after is not None:
            delays.append(judgement[0].received_at - after.saved_at)
    return max(delays)


def run(gateway: Gateway, first: int, messages: int, *, kill: bool) -> tuple[Books, Disturbance]:
    """Send this many, numbered from *first*, while settings are saved; what must hold in any case is asserted here."""
    lay_out(gateway.zone)
    before = gateway.save(**flat(document(HEADER_A)))
    kinds = itertools.islice(itertools.cycle(KINDS), messages)
    mails = [Mail(number, kind) for number, kind in enumerate(kinds, first)]
    pace = Pace(MESSAGES_A_SECOND)
    began = time.monotonic()

    def send(mail: Mail) -> None:
        pace.wait()
        mail.send_until_answered(gateway)

    with disturbed(gateway, kill=kill) as disturbance, ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(send, mails))

    seconds = time.monotonic() - began
    books = close_the_books(gateway, mails)
    fates = Counter(books.final(mail)[0].outcome for mail in mails)
    print(
        f"{len(mails)} messages ({dict(fates)}) in {seconds:.0f} s, {len(disturbance.killed)} workers killed,"
        f" {len(disturbance.saved)} revisions saved with {disturbance.conflicts} conflicts,"
        f" {sum(mail.interrupted for mail in mails)} messages interrupted, {surplus(books)} surplus judgements,"
        f" at most {longest_delay(books).total_seconds():.1f} s by an old revision"
    )
    assert fates.keys() == {"deliver", "quarantine", "reject"}
    assert_every_message_has_one_fate(books)
    assert {found[0].revision for found in books.judged.values()} <= books.revisions.keys()
    assert longest_delay(books) < IN_FORCE_WITHIN
    assert all(found == sorted(found) for found in disturbance.seen.values())
    assert sorted(disturbance.saved) == list(range(before + 1, before + 1 + len(disturbance.saved)))
    assert disturbance.refused
    return books, disturbance


def test_f14_twenty_saves_a_second_cost_no_message_and_each_is_judged_by_one_revision(
    gateway: Gateway, long_run: bool
) -> None:
    books, disturbance = run(gateway, 2_000_000, 4800 if long_run else 400, kill=False)

    assert not sum(mail.interrupted for mail in books.mails)
    assert not surplus(books)
    judged_under = {books.final(mail)[0].revision for mail in books.mails}
    assert len(judged_under) > 4
    assert len(disturbance.saved) > len(judged_under)


def test_f1_f2_f14_killed_workers_and_saved_settings_lose_double_or_misjudge_no_message(
    gateway: Gateway, long_run: bool
) -> None:
    books, disturbance = run(gateway, 0, 5000 if long_run else 400, kill=True)

    assert disturbance.killed
    assert surplus(books) <= SENDERS * len(disturbance.killed)


def flat(settings: Settings) -> dict[str, object]:
    """For ``Gateway.save``."""
    dumped = settings.model_dump(mode="json")["verification"]
    return {f"verification__{name}": value for name, value in dumped.items()}


def test_f14_a_revision_that_can_not_be_read_leaves_the_last_one_in_force(gateway: Gateway) -> None:
    """As a newer program on another node may write it; a worker that starts meanwhile goes on by what was kept."""
    lay_out(gateway.zone)
    gateway.save(**flat(document(HEADER_B)))
    good = gateway.save(**flat(document(HEADER_A)))
    log = gateway.service("filter").log
    known = len(log.read_bytes())

    insert_revision(gateway, good + 1, '{"verification": {"from the future": true}}')
    wait_for("the log's word on it", lambda: b"settings-unreadable" in log.read_bytes()[known:])
    before = children_of(gateway.service("filter").pid)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for("new workers", lambda: children_of(gateway.service("filter").pid).isdisjoint(before))
    during = Mail(1_000_001, NONE)
    during.send_until_answered(gateway)
    insert_revision(gateway, good + 2, document(HEADER_B).model_dump_json())
    gateway.await_revision(good + 2)
    after = Mail(1_000_002, NONE)
    after.send_until_answered(gateway)

    assert [revision_of(gateway, mail) for mail in (during, after)] == [good, good + 2]
    assert "verification.from the future" in log.read_bytes()[known:].decode()


def insert_revision(gateway: Gateway, number: int, text: str) -> None:
    with gateway.store.begin() as connection:
        connection.execute(
            insert(settings_revision).values(
                number=number, saved_at=0, author="another", comment="", document=text
            )
        )


def revision_of(gateway: Gateway, mail: Mail) -> int:
    [told] = [event for event in recorded(gateway, mail) if event.queue_id == mail.final.queue_id]
    return told.revision
