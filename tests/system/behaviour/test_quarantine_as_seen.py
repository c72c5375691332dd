"""Quarantined mail as an administrator deals with it: listed, shown, released as it came, deleted, expired (S27)."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.samples import Fate
from appliance.node import read_node
from appliance.quarantine import TRACE_FIELD, Desk, tidy
from appliance.store import audit
from tests.system.behaviour.observing import STRANGER, command, current_number, event_count, put_in_force
from tests.system.behaviour.post import Letter, Owner, Post, Seen, mail, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ON: dict[str, object] = {"verification.enabled": True, "verification.x_header": True}
POLICY = "p=quarantine"


@pytest.fixture(scope="module", autouse=True)
def _enforced(gateway: Gateway) -> None:
    put_in_force(gateway, ON)


def held(post: Post, letters: Iterable[Letter]) -> list[Seen]:
    seen = post.send(*letters)
    assert {one.fate for one in seen} == {Fate.QUARANTINED}
    return seen


def id_of(seen: Seen) -> str:
    return seen.events[0].event_id


def listed(gateway: Gateway) -> dict[str, dict[str, object]]:
    lines = command(gateway, "quarantine", "list", "--json").stdout.splitlines()
    return {found["id"]: found for found in map(json.loads, lines)}


def delivered_to(gateway: Gateway, recipient: str) -> tuple[DeliveredMessage, ...]:
    return gateway.inside.wait_until(
        lambda message: message.recipient == recipient, f"mail to {recipient}", seconds=30
    )


def audited(gateway: Gateway, event_id: str) -> list[str]:
    """What was done to the message, the latest first."""
    with gateway.store.read() as connection:
        return [entry.action for entry in audit.recent(connection, 500) if entry.subject == event_id]


def file_of(gateway: Gateway, seen: Seen) -> Path:
    [file] = (gateway.directory / "quarantine").rglob(f"{id_of(seen)}.*")
    return file


def without_marks(octets: bytes) -> bytes:
    """A message below our marks: two fields, some of their lines folded."""
    names = [b"authentication-results:", b"x-dmarc-result:"]
    lines = octets.split(b"\r\n")
    at = 0
    for name in names:
        assert lines[at].lower().startswith(name), lines[at]
        at += 1
        while lines[at][:1] in (b" ", b"\t"):
            at += 1
    return b"\r\n".join(lines[at:])


# ---- released as it came --------------------------------------------------------

FORGED = b"X-DMARC-Result: pass\r\nAuthentication-Results: gateway.example; dmarc=pass\r\n"


def letters_of(owner: Owner) -> dict[str, Letter]:
    domain = owner.domain(POLICY)
    plain = mail(f"admin@{domain}")
    attachment = (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=b"\r\n\r\npreamble\r\n--=b\r\n'
        b"Content-Type: text/plain\r\n\r\nHello\r\n--=b\r\nContent-Type: application/pdf; name=a.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n--=b--\r\nepilogue \t\r\n"
    )
    return {
        "plain": Letter(plain),
        "several recipients": Letter(plain, recipients=3),
        "null sender": Letter(plain, mail_from=""),
        "8-bit text": Letter(
            plain + "Grüße, 日本\r\n".encode() + b"\xff\xfe\r\n", parameters=("BODY=8BITMIME",)
        ),
        "lines that begin with dots": Letter(plain + b".\r\n..\r\n.hidden\r\n\r\n.\r\n"),
        "white space at ends of lines": Letter(plain + b"a \r\n\t\r\n \r\n\r\n\r\n"),
        "no body": Letter(plain.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"),
        "folded and odd fields": Letter(b"X-Long:\r\n  a\r\n\tb\r\nX-Empty:\r\nx-CASE:no space\r\n" + plain),
        "forged marks": Letter(FORGED + plain),
        "signed": Letter(owner.signed(plain, owner.domain(None))),
        "attachment": Letter(plain.partition(b"\r\n\r\n")[0] + b"\r\n" + attachment),
        "a megabyte": Letter(plain + b"0123456789abcdef" * 60 + b"\r\n" + b"x\r\n" * 350_000),
    }


@dataclass(frozen=True)
class ReleasedAll:
    """What one release command did to one message of each kind."""

    seen: dict[str, Seen]
    letters: dict[str, Letter]
    kept: dict[str, bytes]
    output: str
    events: tuple[int, int]
    """Before and after."""
    questions: int


@pytest.fixture(scope="module")
def released(gateway: Gateway, post: Post, owner: Owner, _enforced: None) -> ReleasedAll:
    letters = letters_of(owner)
    seen = dict(zip(letters, held(post, letters.values()), strict=True))
    kept = {kind: file_of(gateway, one).read_bytes() for kind, one in seen.items()}
    before = event_count(gateway)
    gateway.nameserver.forget_queries()
    done = command(gateway, "quarantine", "release", *(id_of(one) for one in seen.values()))
    assert done.returncode == 0, done.stderr
    for one in seen.values():
        for recipient in one.recipients:
            delivered_to(gateway, recipient)
    return ReleasedAll(
        seen, letters, kept, done.stdout, (before, event_count(gateway)), gateway.nameserver.count()
    )


KINDS = (
    "plain", "several recipients", "null sender", "8-bit text", "lines that begin with dots",
    "white space at ends of lines", "no body", "folded and odd fields", "forged marks", "signed", "attachment",
    "a megabyte",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_s27_a_released_message_reaches_each_of_its_recipients_as_it_came_below_the_trace_fields(
    gateway: Gateway, released: ReleasedAll, kind: str
) -> None:
    sent, seen = released.letters[kind], released.seen[kind]
    assert f"{id_of(seen)} released as " in released.output

    for recipient in seen.recipients:
        [message] = delivered_to(gateway, recipient)

        assert message.return_path == sent.mail_from
        assert message.octets.endswith(released.kept[kind])
        top = message.octets.removesuffix(released.kept[kind])
        assert {line.split(b":")[0] for line in top.splitlines() if line[:1] not in (b" ", b"\t")} <= {
            b"Received",
            TRACE_FIELD.encode(),
        }
        assert without_marks(released.kept[kind]) == sent.octets.replace(FORGED, b"")


@pytest.mark.parametrize("kind", ["plain", "forged marks"])
def test_s27_s30_a_released_message_keeps_the_marks_of_its_only_evaluation(
    gateway: Gateway, released: ReleasedAll, kind: str
) -> None:
    [message] = delivered_to(gateway, released.seen[kind].recipients[0])

    assert len(message.texts("Authentication-Results")) == len(message.texts("X-DMARC-Result")) == 1
    assert message.texts("X-DMARC-Result")[0].startswith("fail ")
    assert "action=quarantine" in message.texts("X-DMARC-Result")[0]
    assert message.texts(TRACE_FIELD)[0].startswith(id_of(released.seen[kind]))


def test_s27_a_released_message_is_not_evaluated_again(gateway: Gateway, released: ReleasedAll) -> None:
    """No second event, no question to the DNS; not even where the action has become stricter."""
    before, after = released.events

    assert (after, released.questions) == (before, 0)


def test_s27_a_release_is_audited_and_the_message_leaves_the_list(
    gateway: Gateway, released: ReleasedAll
) -> None:
    ids = {id_of(seen) for seen in released.seen.values()}

    assert not ids & listed(gateway).keys()
    for event_id in ids:
        assert audited(gateway, event_id) == ["quarantine release"]


def test_s27_a_message_is_released_once(gateway: Gateway, released: ReleasedAll) -> None:
    seen = released.seen["plain"]

    again = command(gateway, "quarantine", "release", id_of(seen))

    assert again.returncode == 1
    assert "released already" in again.stderr
    assert len(delivered_to(gateway, seen.recipients[0])) == 1


def test_s27_a_message_can_be_released_to_somebody_else_and_under_stricter_settings(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    [seen] = held(post, [spoof(owner.domain(POLICY))])
    put_in_force(gateway, {**ON, "verification.actions.quarantine": "reject"})

    done = command(gateway, "quarantine", "release", id_of(seen), "--to", "postmaster@corp.example")
    put_in_force(gateway, ON)

    assert done.returncode == 0, done.stderr
    [message] = gateway.inside.wait_until(
        lambda m: m.recipient == "postmaster@corp.example", "the released message", seconds=30
    )
    assert message.texts(TRACE_FIELD)[0].startswith(id_of(seen))
    assert not [m for m in gateway.inside.messages() if m.recipient == seen.recipients[0]]


def test_s27_a_release_with_an_exception_lets_such_mail_through_from_then_on(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Such mail: of this author domain, from this client."""
    domain, other = owner.domain(POLICY), owner.domain(POLICY)
    put_in_force(gateway, ON)
    [seen] = held(post, [spoof(domain)])

    done = command(gateway, "quarantine", "release", "--except", id_of(seen))
    gateway.await_revision(current_number(gateway))
    after = post.send(spoof(domain), spoof(other), Letter(mail(f"a@{domain}"), client_ip="198.51.100.99"))
    put_in_force(gateway, ON)

    assert done.returncode == 0, done.stderr
    assert f"{STRANGER} " in done.stdout
    assert [one.fate for one in after] == [Fate.DELIVERED, Fate.QUARANTINED, Fate.QUARANTINED]
    assert after[0].event.result == "fail"


# ---- listed and shown -----------------------------------------------------------

CONTROL = "\x1b[2J\x07\x9b31m"


def test_s27_a_held_message_is_listed_and_shown_and_nothing_of_it_reaches_the_terminal_unescaped(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    domain = owner.domain(POLICY)
    octets = mail(f"admin@{domain}", "X-Odd: \x1b[31mred", body=f"Hello {CONTROL}\r\n").replace(
        b"Subject: x", f"Subject: Bill {CONTROL}".encode()
    )
    [seen] = held(post, [Letter(octets, parameters=("BODY=8BITMIME",))])

    found = listed(gateway)[id_of(seen)]
    outputs = [command(gateway, "quarantine", *words).stdout for words in (("list",), ("show", id_of(seen)))]

    assert (found["author_domain"], found["recipients"]) == (domain, list(seen.recipients))
    for output in outputs:
        assert id_of(seen) in output
        assert "Bill" in output
        assert not [char for char in output if not char.isprintable() and char not in "\n\t"]
    assert "Hello" in outputs[1]
    assert "X-Odd" in outputs[1]
    assert audited(gateway, id_of(seen)) == []


def test_s27_the_message_itself_can_be_had_octet_by_octet(gateway: Gateway, post: Post, owner: Owner) -> None:
    [seen] = held(post, [spoof(owner.domain(POLICY))])

    shown = command(gateway, "quarantine", "show", "--raw", id_of(seen))

    assert shown.returncode == 0
    assert shown.stdout.encode() == file_of(gateway, seen).read_bytes().replace(b"\r\n", b"\n")


def test_s27_a_damaged_message_is_shown_as_such_and_never_released_and_others_are(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    whole, gone, short, changed = seen = held(post, [spoof(owner.domain(POLICY)) for _ in range(4)])
    octets = file_of(gateway, short).read_bytes()
    file_of(gateway, gone).unlink()
    file_of(gateway, short).write_bytes(octets[: len(octets) // 2])
    file_of(gateway, changed).write_bytes(octets.replace(b"Hello", b"Hullo"))

    found = listed(gateway)
    shown = command(gateway, "quarantine", "show", id_of(gone))
    done = command(gateway, "quarantine", "release", *(id_of(one) for one in seen))

    assert [found[id_of(one)]["file"] for one in (whole, gone, short)] == ["complete", "gone", "cut short"]
    assert (shown.returncode, done.returncode) == (1, 1)
    assert "gone" in shown.stderr
    assert len(delivered_to(gateway, whole.recipients[0])) == 1
    for one in (gone, short, changed):
        assert f"{id_of(one)}: " in done.stderr
        assert audited(gateway, id_of(one)) == []
        assert not [m for m in gateway.inside.messages() if m.recipient == one.recipients[0]]


# ---- deleted and expired --------------------------------------------------------


def test_s27_a_deleted_message_can_be_brought_back_and_released_and_every_act_is_audited(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    [seen] = held(post, [spoof(owner.domain(POLICY))])
    event_id = id_of(seen)

    deleted = command(gateway, "quarantine", "delete", event_id)
    gone = event_id not in listed(gateway)
    refused = command(gateway, "quarantine", "release", event_id)
    back = command(gateway, "quarantine", "undelete", event_id)
    released = command(gateway, "quarantine", "release", event_id)

    assert [done.returncode for done in (deleted, refused, back, released)] == [0, 1, 0, 0]
    assert gone
    assert "deleted" in refused.stderr
    assert len(delivered_to(gateway, seen.recipients[0])) == 1
    assert audited(gateway, event_id) == ["quarantine release", "quarantine undelete", "quarantine delete"]


def test_s27_mail_is_purged_when_it_is_too_old_and_deleted_mail_when_its_undo_is_over(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """By the chore that the gateway does by itself; the clock is put forward for it."""
    put_in_force(gateway, {**ON, "retention.quarantine_days": 10})
    kept, deleted = held(post, [spoof(owner.domain(POLICY)), spoof(owner.domain(POLICY))])
    files = [file_of(gateway, one) for one in (kept, deleted)]
    command(gateway, "quarantine", "delete", id_of(deleted))
    desk = Desk.of(read_node(gateway.node_file), gateway.store)
    now = datetime.now(UTC)

    there = []
    for days in (6, 8, 9, 11):
        tidy(desk, gateway.settings(), now + timedelta(days=days))
        there.append([file.exists() for file in files])

    assert there == [[True, True], [True, False], [True, False], [False, False]]
    assert id_of(kept) not in listed(gateway)
    released = command(gateway, "quarantine", "release", id_of(kept))
    assert (released.returncode, "no quarantined message" in released.stderr) == (1, True)
    with gateway.store.read() as connection:
        assert "quarantine expire" in {entry.action for entry in audit.recent(connection, 50)}
