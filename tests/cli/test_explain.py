"""``dmarcgate explain``: live, replayed, and of a message that the filter recorded."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from appliance.cli.explain import explain_command
from appliance.cli.failures import CommandFailed
from appliance.filter.handler import Handler
from appliance.lab.nameserver import Behaviour, NameServer, Zone
from appliance.milter.replies import Discard, Refuse
from appliance.policy import LocalPolicy
from appliance.quarantine import Quarantine
from appliance.resolver import Resolver
from appliance.settings import Action, ActionTable, Mode, Settings, Verification
from appliance.store import events
from appliance.store import settings as store_settings
from appliance.store.engine import open_store
from appliance.store.recorder import Recorder
from tests.checks.mails import NOW, SigningKey, new_rsa_key, received, signed

MESSAGE = (
    b"Received: from client.test (client.test [192.0.2.1]) by mx.corp.test; Mon, 23 Nov 2026 14:00:00 +0000\r\n"
    b"Return-Path: <bounce@bulk.test>\r\n"
    b"From: Ann <ann@mail.example.org>\r\nTo: bob@example.net\r\nSubject: x\r\n\r\nHello\r\n"
)

Explain = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return new_rsa_key()


@pytest.fixture(scope="module")
def nameserver(key: SigningKey) -> Iterator[NameServer]:
    zone = Zone()
    zone.txt("_dmarc.example.org", "v=DMARC1; p=reject; rua=mailto:r@example.org")
    zone.a("mail.example.org", "192.0.2.80")
    zone.txt("s1._domainkey.example.org", key.record)
    zone.txt("bulk.test", "v=spf1 include:spf.bulk.test -all")
    zone.txt("spf.bulk.test", "v=spf1 ip4:192.0.2.0/24 ~all")
    zone.misbehave("_dmarc.down.test", Behaviour.SERVFAIL)
    with NameServer(zone) as running:
        yield running


@pytest.fixture
def explain(tmp_path: Path, nameserver: NameServer) -> Explain:
    """Runs ``dmarcgate explain`` on a message, asking the test's name server unless told otherwise."""

    def command(octets: bytes, *options: str, ask: bool = True) -> subprocess.CompletedProcess[str]:
        return run("-", *options, *(("--dns", nameserver.address) if ask else ()), stdin=octets)

    return command


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "explain", *arguments],
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
    )


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    explanation: dict[str, Any] = json.loads(done.stdout)
    return explanation


def test_the_text_tells_verdict_identities_spf_policy_and_advice(explain: Explain) -> None:
    done = explain(MESSAGE, "--ip", "192.0.2.1", "--helo", "client.test", "--mail-from", "a@bulk.test")

    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "Result DMARC fail",
        'Action reject (550): row "p=reject" of the action table.',
        "Client 192.0.2.1 (it connected to us itself)",
        "SPF bulk.test pass no relaxed under another top-level domain",
        "_dmarc.mail.example.org no such name",
        "1 0 include:spf.bulk.test match: pass (spf.bulk.test)",
        "Used up: 1 of 10 look-ups, 0 of 2 void.",
        "WHAT THE SENDER SHOULD FIX",
    ):
        assert line in lines or line.removesuffix(" (spf.bulk.test)") in lines, line


def test_what_is_not_given_is_guessed_from_the_message_and_marked(explain: Explain) -> None:
    who = told(explain(MESSAGE, "--json"))["identities"]

    assert (who["client_ip"], who["helo"], who["mail_from"]) == (
        "192.0.2.1",
        "client.test",
        "bounce@bulk.test",
    )
    assert who["guessed"] == ["client", "HELO", "MAIL FROM"]


def test_a_null_reverse_path_is_not_guessed_over(explain: Explain) -> None:
    explanation = told(explain(MESSAGE, "--mail-from", "<>", "--json"))

    assert explanation["identities"]["mail_from"] == ""
    assert explanation["spf"]["identity"] == "HELO"


def test_a_replay_needs_no_network_and_tells_the_same(
    explain: Explain, key: SigningKey, tmp_path: Path
) -> None:
    octets, saved = signed(key, MESSAGE), str(tmp_path / "answers.json")
    live = told(explain(octets, "--now", str(NOW.timestamp()), "--save-answers", saved, "--json"))

    replayed = told(explain(octets, "--now", str(NOW.timestamp()), "--answers", saved, "--json", ask=False))

    assert replayed == live
    assert (live["result"], live["dkim"][0]["result"]) == ("pass", "pass")


def test_a_temporary_error_is_told_and_replayed_as_one(explain: Explain, tmp_path: Path) -> None:
    octets, saved = MESSAGE.replace(b"mail.example.org", b"down.test"), str(tmp_path / "answers.json")
    live = told(explain(octets, "--now", str(NOW.timestamp()), "--save-answers", saved, "--json"))

    replayed = told(explain(octets, "--now", str(NOW.timestamp()), "--answers", saved, "--json", ask=False))

    assert (live["result"], replayed) == ("temperror", live)


def test_a_replay_says_which_answer_is_missing(explain: Explain, tmp_path: Path) -> None:
    saved = tmp_path / "answers.json"
    explain(MESSAGE, "--save-answers", str(saved))
    rows = [row for row in json.loads(saved.read_text()) if row[0] != "spf.bulk.test"]
    saved.write_text(json.dumps(rows))

    done = explain(MESSAGE, "--answers", str(saved), ask=False)

    assert done.returncode == 1
    assert done.stderr == f"dmarcgate: {saved}: no recorded answer to: TXT spf.bulk.test\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param((), "give either FILE or --event ID", id="nothing to explain"),
        pytest.param(("-", "--event", "0123456789ab"), "give either FILE or --event ID", id="both"),
        pytest.param(("-", "--ip", "1.2.3", "--dns", "127.0.0.1:53"), "--ip is no", id="no address"),
        pytest.param(("-", "--dns", "here"), "--dns:", id="no name server"),
        pytest.param(("-", "--mail-from", "a\nb@c.test", "--dns", "127.0.0.1:53"), "line end", id="line end"),
        pytest.param(("-", "--now", "1e300", "--dns", "127.0.0.1:53"), "--now is no time", id="no time"),
        pytest.param(("-", "--answers", "/dev/null"), "no recorded answers", id="no answers"),
    ],
)
def test_wrong_usage_is_one_line(options: tuple[str, ...], words: str) -> None:
    done = CliRunner().invoke(explain_command, options, input=MESSAGE, standalone_mode=False)

    assert isinstance(done.exception, CommandFailed)
    assert done.exception.status == 2
    assert words in str(done.exception)
    assert str(done.exception).isprintable()


def test_the_store_s_settings_are_judged_by(explain: Explain, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/gate.db"
    monitor = Settings(verification=Verification(enabled=True, mode=Mode.MONITOR))
    with open_store(store, create=True).begin() as connection:
        store_settings.save(connection, monitor, based_on=0, author="test")

    local = told(explain(MESSAGE, "--store", store, "--json"))["local"]

    assert local["settings"] == "revision 1, in force now"
    assert (local["action"], "monitor only" in local["because"]) == ("deliver", True)


# ---- recorded events ------------------------------------------------------------


class OneRevision:
    """Settings that never change."""

    def __init__(self, settings: Settings) -> None:
        self._policy = LocalPolicy(settings, 7)

    def current(self) -> LocalPolicy:
        return self._policy


def recorded(folder: Path, nameserver: str, octets: bytes, settings: Settings) -> tuple[str, str]:
    """Let a filter with a store in *folder* judge *octets*; the store's URL and the event's id."""
    url = f"sqlite:///{folder}/gate.db"
    store = open_store(url, create=True)

    async def judge() -> object:
        recorder, resolver = Recorder(store), Resolver(nameserver)
        handler = Handler(
            node="mx.corp.test",
            authserv_id=None,
            policies=OneRevision(settings),
            resolver=resolver,
            recorder=recorder,
            quarantine=Quarantine(folder / "quarantine"),
        )
        message = received(octets, mail_from="bounce@bulk.test")
        envelope = replace(message.envelope, client_ip=IPv4Address("192.0.2.1"), helo="client.test")
        try:
            return await handler.handle(replace(message, envelope=envelope))
        finally:
            await recorder.close()
            await resolver.close()

    (folder / "quarantine").mkdir()
    assert isinstance(asyncio.run(judge()), Refuse | Discard)
    with store.read() as connection:
        [event] = events.recent(connection)
    return url, event.event_id


def test_an_event_is_told_from_its_stored_values_and_answers(tmp_path: Path, nameserver: NameServer) -> None:
    settings = Settings(verification=Verification(enabled=True))
    store, event_id = recorded(tmp_path, nameserver.address, MESSAGE, settings)

    explanation = told(run("--event", event_id, "--store", store, "--json"))

    assert (explanation["result"], explanation["mail"]["event_id"]) == ("fail", event_id)
    assert explanation["local"]["action"] == "reject (550)"
    assert explanation["local"]["settings"] == "revision 7, in force when the message came"
    assert [step["term"] for step in explanation["spf"]["steps"]] == [
        "",
        "include:spf.bulk.test",
        "",
        "ip4:192.0.2.0/24",
        "~all",
        "-all",
    ]
    [author] = explanation["authors"]
    assert author["published"]["policy_domain"] == "example.org"
    assert author["walk"]["organizational_domain"] == "example.org"


def test_a_quarantined_event_is_told_with_its_signatures(
    tmp_path: Path, nameserver: NameServer, key: SigningKey
) -> None:
    table = ActionTable(reject=Action.QUARANTINE)
    settings = Settings(verification=Verification(enabled=True, actions=table))
    octets = signed(key, MESSAGE) + b"footer\r\n"
    store, event_id = recorded(tmp_path, nameserver.address, octets, settings)

    explanation = told(run("--event", event_id, "--store", store, "--json"))

    [signature] = explanation["dkim"]
    assert (signature["result"], signature["body"]) == (
        "fail",
        "hash differs: the body was changed after signing",
    )
    assert explanation["local"]["action"] == "quarantine"


def test_an_unknown_event_is_a_negative_result(tmp_path: Path) -> None:
    done = run("--event", "0123456789ab", "--store", f"sqlite:///{tmp_path}/gate.db")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


def test_hostile_text_reaches_no_terminal(explain: Explain) -> None:
    octets = MESSAGE.replace(b"Subject: x", b"Subject: \x1b[2J\xe2\x80\xae" + b"A" * 1_000_000)

    done = explain(octets, "--mail-from", "\x1b]0;x\x07\u202e@bulk.test")

    assert done.returncode == 0, done.stderr
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert "\\x1b[2J\\u202eAAA" in done.stdout
    assert len(done.stdout) < 20_000
