"""``dmarcgate settings``: every limit and refusal (behaviour, section 2), risks, revisions."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from appliance.settings import Scope, Settings, to_document
from appliance.settings.names import replaced
from appliance.store import audit
from appliance.store.engine import Store
from tests.cli.commands import Gate, OnTerminal
from tests.cli.conftest import Saved

BIG = "9" * 5_000


def nested(name: str, value: object) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


def domains(count: int) -> list[str]:
    return [f"d{number}.example" for number in range(count)]


def networks(count: int) -> list[str]:
    return [f"10.0.{number // 256}.{number % 256}" for number in range(count)]


DOMAIN_LISTS = (
    "verification.domains",
    "network.trusted_sealers",
    "identity.protected_domains",
    "reports.allowed_domains",
    "reports.denied_domains",
)
NETWORK_LISTS = (
    "verification.exceptions",
    "network.internal",
    "network.known_hosts",
    "network.trusted_forwarders",
)
ROWS = ("none", "quarantine", "reject", "no_record", "unusable_from")
WORDS_OF_A_ROW = "must be one of 'deliver', 'quarantine' or 'reject'"
REPORTER = {"enabled": True, "organization": "Example", "address": "reports@example.org"}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        pytest.param("verification.enabled", "perhaps", '"perhaps" must be true or false', id="dmarc"),
        pytest.param("verification.mode", "off", "\"off\" must be one of 'monitor' or 'enforce'", id="mode"),
        pytest.param("verification.x_header", 7, "7 must be true or false", id="x-header"),
        pytest.param(
            "verification.x_header_name", "X DMARC", '"X DMARC" is not a header field name', id="name-space"
        ),
        pytest.param("verification.x_header_name", "", "is not a header field name", id="name-empty"),
        pytest.param("verification.x_header_name", "Subject", "begins with X-", id="name-taken"),
        pytest.param("verification.x_header_name", "X" * 77, "at most 76 characters", id="name-length"),
        pytest.param("reports.enabled", True, "set the organization name", id="reports-identity"),
        pytest.param("reports", REPORTER, "needs verification", id="reports-without-verification"),
        pytest.param("reports.address", "nobody", '"nobody" is not a mail address', id="reports-address"),
        pytest.param("reports.address", "ü@example.org", "ASCII local part", id="reports-address-ascii"),
        pytest.param("reports.organization", "two\nlines", "one line", id="reports-organization"),
        pytest.param("reports.contact", "x" * 201, "at most 200 characters", id="reports-contact"),
        pytest.param(
            "reports.gate", "everybody", "'all', 'established', 'reciprocal' or 'listed'", id="gate"
        ),
        pytest.param("verification.scope", "listed", "add a domain or choose all", id="scope-empty-list"),
        pytest.param("verification.scope", "some", "'all' or 'listed'", id="scope"),
        *(
            pytest.param(name, domains(10_001), "holds 10001 entries; the limit is 10000", id=f"{name}-many")
            for name in DOMAIN_LISTS
        ),
        *(
            pytest.param(name, ["x.example", "com"], "write example.com or *.example.com", id=f"{name}-tld")
            for name in DOMAIN_LISTS
        ),
        pytest.param("verification.domains", ["*"], '"*" is not a domain name', id="star"),
        pytest.param("verification.domains", ["*.com"], "write example.com", id="star-of-a-tld"),
        pytest.param("verification.domains", ["a..example"], "a label is empty", id="empty-label"),
        pytest.param("verification.domains", ["x" * 64 + ".example"], "longer than 63", id="long-label"),
        pytest.param("verification.domains", ["a.example # " + "x" * 201], "longer than 200", id="comment"),
        pytest.param("verification.domains", "a.example b.example", "a comment starts with #", id="two"),
        pytest.param("verification.domains", ["a\ud800.example"], "not a domain name", id="surrogate"),
        pytest.param("verification.domains", 7, "7 must be a list of lines", id="no-list"),
        pytest.param("verification.domains", [7], "must be text", id="no-text"),
        *(
            pytest.param(name, networks(4_097), "holds 4097 entries; the limit is 4096", id=f"{name}-many")
            for name in NETWORK_LISTS
        ),
        *(
            pytest.param(name, ["192.0.2.7/24"], "write 192.0.2.0/24", id=f"{name}-host-bits")
            for name in NETWORK_LISTS
        ),
        *(
            pytest.param(name, ["mail.example"], '"mail.example" is not an IP', id=f"{name}-name")
            for name in NETWORK_LISTS
        ),
        pytest.param("verification.exceptions", ["0.0.0.0/0"], "switch DMARC off instead", id="all-ipv4"),
        pytest.param("verification.exceptions", ["::/0"], "switch DMARC off instead", id="all-ipv6"),
        pytest.param("verification.exceptions", ["*"], "needs dkim=DOMAIN", id="any-client"),
        pytest.param("verification.exceptions", ["192.0.2.1 mode=allow"], '"allow"', id="exception-mode"),
        pytest.param("verification.exceptions", ["192.0.2.1 until=soon"], "2027-01-31", id="until"),
        pytest.param("verification.exceptions", ["192.0.2.1 owner="], "owner is one word", id="owner"),
        pytest.param("verification.exceptions", ["192.0.2.1 from=com"], "example.com", id="from"),
        pytest.param("verification.exceptions", ["192.0.2.1 dkim=a..b"], "needs a domain", id="dkim"),
        pytest.param(
            "verification.exceptions", ["192.0.2.1 mode=skip dkim=a.example"], "mode=evaluate", id="dkim-skip"
        ),
        *(pytest.param(f"verification.actions.{row}", "drop", WORDS_OF_A_ROW, id=row) for row in ROWS),
        pytest.param(
            "verification.actions.temporary_error", "reject", "'deliver' or 'defer'", id="temporary-error"
        ),
        pytest.param("verification.actions.soften_indirect", "maybe", "true or false", id="indirect"),
        pytest.param("verification.engine_failure", "reject", "'defer' or 'deliver'", id="engine-failure"),
        pytest.param("verification.reject_text", "no\r\nway", "one line of ASCII", id="reply-line-end"),
        pytest.param("verification.reject_text", "nö", '"nö" must be one line of ASCII', id="reply-ascii"),
        pytest.param(
            "verification.reject_text", "%{who}", "than %{domain} and %{id}", id="reply-placeholder"
        ),
        pytest.param("verification.defer_text", "x" * 201, "at most 200 characters", id="reply-length"),
        pytest.param("identity.authserv_id", "our host", "is not a domain name", id="authserv-id"),
        pytest.param("signatures.min_rsa_bits", 512, "512 is too small; the least is 1024", id="rsa-short"),
        pytest.param("signatures.min_rsa_bits", 8192, "8192 is too large; the most is 4096", id="rsa-long"),
        pytest.param("signatures.max_arc_sets", 51, "51 is too large; the most is 50", id="arc-sets"),
        pytest.param("signatures.max_arc_sets", "many", '"many" must be a whole number', id="no-number"),
        pytest.param("signatures.max_arc_sets", 1.5, "1.5 must be a whole number", id="fraction"),
        pytest.param("signatures.partial_body_counts", None, "null must be true or false", id="partial-body"),
        pytest.param("retention.events_days", 0, "the least is 1", id="events-days"),
        pytest.param("retention.events_percent", 81, "the most is 80", id="events-percent"),
        pytest.param("retention.facts_days", 7, "the least is 8", id="facts-days"),
        pytest.param("retention.quarantine_days", 3651, "the most is 3650", id="quarantine-days"),
        pytest.param("retention.quarantine_percent", 0, "the least is 1", id="quarantine-percent"),
        pytest.param("verification.colour", "red", "is not a setting; check the spelling", id="unknown"),
        pytest.param("colours", {"red": True}, "is not a setting; check the spelling", id="unknown-group"),
        pytest.param("verification", [], "must be an object with settings in it", id="group-of-no-settings"),
    ],
)
def test_each_limit_is_told_with_field_value_and_remedy_and_nothing_is_saved(
    gate: Gate, saved: Saved, name: str, value: object, told: str
) -> None:
    done = gate("settings", "import", "-", stdin=json.dumps(nested(name, value)))

    assert done.status == 2
    head, *lines = done.err.splitlines()
    assert head == "dmarcgate: nothing was saved:"
    assert len(lines) == 1
    group = name.partition(".")[0]
    assert lines[0].strip().startswith((name, f"{group}."))
    assert told in lines[0]
    assert saved.number == 0


@pytest.mark.parametrize(
    ("document", "told"),
    [
        pytest.param('{\n"verification": {,}}', "document, line 2: is not JSON", id="no-json"),
        pytest.param("", "document, line 1: is not JSON", id="empty"),
        pytest.param("[]", "document: must be an object", id="list"),
        pytest.param("7", "document: 7 must be an object", id="number"),
        pytest.param('{"reports": {}, "reports": {}}', "reports: is given twice", id="name-twice"),
        pytest.param("[" * 100_000, "document: is nested too deeply", id="deep"),
        pytest.param(
            f'{{"retention": {{"events_days": {BIG}}}}}', "document: is not JSON that can", id="digits"
        ),
        pytest.param('{"retention": {"events_days": 1e999}}', "must be a whole number", id="infinity"),
        pytest.param(b'{"reports":\n{"organization": "\xfc"}}', "document, line 2: octet 0xfc", id="latin-1"),
        pytest.param("{}".encode("utf-16"), "document: is UTF-16 text; save the file as UTF-8", id="utf-16"),
        pytest.param('{"%s": 1}' % ("x" * 100_000), "x…: is not a setting", id="long-name"),
        pytest.param('{"\\u001b[2J": 1}', "\ufffd[2J: is not a setting", id="odd-name"),
        pytest.param('{"\\ud800": 1}', "holds characters that are no text", id="surrogate-name"),
        pytest.param('{"reports": {"contact": "\\ud800"}}', "\ufffd", id="surrogate"),
        pytest.param('{"verification": {"mode": "\\u001b[2J"}}', '"\ufffd[2J" must be one', id="odd-value"),
        pytest.param(b" " * (32 * 1024 * 1024 + 1), "document: is longer than 32 MiB", id="size"),
    ],
)
def test_a_document_that_can_not_be_read_is_refused_in_one_line(
    gate: Gate, saved: Saved, document: str | bytes, told: str
) -> None:
    done = gate("settings", "import", stdin=document)

    assert (done.status, done.err.count("\n")) == (2, 2)
    assert told in done.err
    assert len(done.err) < 1_000
    assert saved.number == 0


def test_a_document_of_an_older_version_has_the_defaults_for_what_it_lacks(gate: Gate, saved: Saved) -> None:
    document = {"verification": {"enabled": True, "actions": {"none": "quarantine"}}}

    done = gate("settings", "import", stdin="\ufeff" + json.dumps(document))

    assert done.status == 0
    assert saved.settings == replaced(
        Settings(), {"verification.enabled": True, "verification.actions.none": "quarantine"}
    )


def test_export_and_import_are_the_identity(gate: Gate, saved: Saved, file: Callable[[str], str]) -> None:
    saved.save(
        replaced(
            Settings(),
            {
                "verification.domains": ["*.bücher.example # übrig", "example.com"],
                "verification.exceptions": ["192.0.2.0/24 mode=evaluate owner=anna # office"],
                "reports.organization": "Größer & Söhne",
            },
        )
    )
    exported = gate("settings", "export").out

    done = gate("settings", "import", file(exported))

    assert (done.status, done.out, done.err) == (0, "", "revision 1 (nothing changed)\n")
    assert exported == to_document(saved.settings)


# ---- one setting ----------------------------------------------------------------


def test_set_tells_what_it_changed(gate: Gate, saved: Saved) -> None:
    done = gate(
        "settings", "set", "verification.enabled=on", "verification.exceptions=192.0.2.1\n2001:db8::1 # v6"
    )

    assert done.out.splitlines() == [
        "verification.enabled: false → true",
        "verification.exceptions: 2 added, 0 removed",
        "  + 192.0.2.1",
        "  + 2001:db8::1 # v6",
    ]
    assert done.err == "revision 1\n"


@pytest.mark.parametrize(
    ("assignments", "told"),
    [
        pytest.param(["verification.enabled"], '"verification.enabled" is not NAME=VALUE', id="no-value"),
        pytest.param(["verification.enabeld=on"], '"verification.enabeld" is no setting', id="no-setting"),
        pytest.param(["verification=on"], '"verification" is no setting', id="group"),
        pytest.param(
            ["verification.x_header=on", "verification.x_header=off"], "is given twice", id="given-twice"
        ),
    ],
)
def test_an_assignment_that_is_none_is_refused(
    gate: Gate, saved: Saved, assignments: list[str], told: str
) -> None:
    done = gate("settings", "set", *assignments)

    assert (done.status, done.err.count("\n")) == (2, 1)
    assert told in done.err
    assert saved.number == 0


def test_get_shows_u_labels_and_json_what_is_stored(gate: Gate, saved: Saved) -> None:
    saved.save(replaced(Settings(), {"verification.domains": ["bücher.example # ü"]}))

    shown = gate("settings", "get", "verification.domains")
    stored = gate("settings", "get", "--json", "verification.domains")

    assert shown.out == "bücher.example # ü\n"
    assert json.loads(stored.out) == ["xn--bcher-kva.example # ü"]


def test_show_and_get_agree_on_every_setting(gate: Gate) -> None:
    shown = dict(line.split(" = ", 1) for line in gate("settings", "show").out.splitlines())

    document = json.loads(gate("settings", "show", "--json").out)

    assert len(shown) > 30
    assert json.loads(shown["verification.actions.none"]) == document["verification"]["actions"]["none"]


# ---- risks (T46) ----------------------------------------------------------------


def test_t46_without_a_terminal_a_risky_change_needs_yes(gate: Gate, saved: Saved) -> None:
    assignments = ("verification.actions.no_record=reject", "verification.actions.none=reject")

    refused = gate("settings", "set", *assignments)
    before = saved.number
    done = gate("settings", "set", "--yes", *assignments)

    assert (refused.status, refused.out, before) == (2, "", 0)
    assert "no_record-reject: “No DMARC record” is set to “Reject”" in refused.err
    assert "none-reject: " in refused.err
    assert "--yes" in refused.err
    assert (done.status, saved.number) == (0, 1)
    assert done.err.count("warning: ") == 2


@pytest.mark.parametrize("command", ["import", "restore"])
def test_t46_import_and_restore_ask_as_well(gate: Gate, saved: Saved, command: str) -> None:
    saved.save(Settings())
    saved.save(replaced(Settings(), {"verification.enabled": True}))
    words = ["1"] if command == "restore" else ["-"]

    refused = gate("settings", command, *words, stdin=to_document(Settings()))
    done = gate("settings", command, "--yes", *words, stdin=to_document(Settings()))

    assert refused.status == 2
    assert "off: DMARC is switched off" in refused.err
    assert (done.status, saved.number) == (0, 3)


@pytest.mark.parametrize(
    ("answer", "status", "number"), [pytest.param("y", 0, 2, id="yes"), pytest.param("n", 1, 1, id="no")]
)
def test_t46_on_a_terminal_a_risky_change_is_shown_and_asked(
    on_terminal: OnTerminal, saved: Saved, answer: str, status: int, number: int
) -> None:
    saved.save(replaced(Settings(), {"verification.enabled": True}))

    done = on_terminal("settings", "set", "verification.enabled=off", answer=answer)

    assert done.status == status
    assert done.out.index("verification.enabled: true → false") < done.out.index("Please confirm")
    assert ("revision 2" if number == 2 else "nothing was saved") in done.out
    assert saved.number == number


# ---- revisions ------------------------------------------------------------------


def test_history_goes_back_page_by_page(gate: Gate, saved: Saved) -> None:
    for number in range(1, 6):
        gate("settings", "set", "--comment", f"c{number}", f"reports.organization=n{number}")

    first = gate("settings", "history", "--limit", "2")
    rows = [
        json.loads(line) for line in gate("settings", "history", "--json", "--before", "4").out.splitlines()
    ]

    assert [line.split()[0] for line in first.out.splitlines()] == ["5", "4"]
    assert first.err == "older ones: --before 4\n"
    assert [(row["revision"], row["comment"]) for row in rows] == [(3, "c3"), (2, "c2"), (1, "c1")]
    assert all(row["author"].endswith("(command line)") for row in rows)


def test_diff_shows_every_record(gate: Gate, saved: Saved) -> None:
    saved.save(replaced(Settings(), {"verification.domains": domains(30)}))
    saved.save(
        replaced(Settings(), {"verification.domains": domains(60)[30:], "verification.x_header": True})
    )

    done = gate("settings", "diff", "1", "2")
    to_now = gate("settings", "diff", "1")
    same = gate("settings", "diff", "2", "2")

    assert done.out == to_now.out
    assert len(done.out.splitlines()) == 1 + 60 + 1
    assert (same.status, same.out) == (0, "")
    assert "hold the same settings" in same.err


def test_diff_and_changes_are_given_to_programs(gate: Gate) -> None:
    saved = json.loads(
        gate("settings", "set", "--json", "verification.enabled=on", "verification.domains=a.example").out
    )
    lines = [json.loads(line) for line in gate("settings", "diff", "--json", "0").out.splitlines()]

    assert saved == {"revision": 1, "changed": True, "changes": lines}
    assert lines == [
        {"setting": "verification.enabled", "label": "Enable DMARC", "before": False, "after": True},
        {"setting": "verification.domains", "label": "Domain list", "added": ["a.example"], "removed": []},
    ]


def test_restore_makes_a_new_revision_and_tells_what_it_changes(gate: Gate, saved: Saved) -> None:
    wanted = replaced(Settings(), {"verification.domains": ["a.example"], "verification.scope": "listed"})
    saved.save(wanted)
    saved.save(replaced(wanted, {"verification.domains": ["b.example"]}))

    done = gate("settings", "restore", "1")

    assert (done.status, saved.number) == (0, 3)
    assert saved.settings == wanted
    assert saved.settings.verification.scope is Scope.LISTED
    assert done.out.splitlines() == [
        "verification.domains: 1 added, 1 removed",
        "  - b.example",
        "  + a.example",
    ]
    assert "restored revision 1" in gate("settings", "history").out


def test_a_revision_that_does_not_exist_is_a_negative_result(gate: Gate, saved: Saved) -> None:
    restored, compared = gate("settings", "restore", "7"), gate("settings", "diff", "7")

    assert (restored.status, compared.status) == (1, 1)
    assert "revision 7 does not exist" in restored.err
    assert saved.number == 0


def test_a_change_made_for_another_revision_is_refused(gate: Gate, saved: Saved) -> None:
    saved.save(Settings())
    saved.save(replaced(Settings(), {"verification.x_header": True}))

    refused = gate("settings", "set", "--based-on", "1", "verification.enabled=on")
    done = gate("settings", "set", "--based-on", "2", "verification.enabled=on")

    assert refused.status == 1
    assert "revision 2 is in force, not 1" in refused.err
    assert (done.status, saved.number) == (0, 3)


def test_what_somebody_else_saves_while_the_question_stands_is_not_overwritten(
    on_terminal: OnTerminal, saved: Saved
) -> None:
    saved.save(replaced(Settings(), {"verification.enabled": True}))
    theirs = replaced(Settings(), {"verification.enabled": True, "verification.x_header": True})

    done = on_terminal(
        "settings",
        "set",
        "verification.enabled=off",
        answer="y",
        meanwhile=lambda: saved.save(theirs, author="grace"),
    )

    assert done.status == os.EX_TEMPFAIL
    assert "revision 2 was saved by grace in the meantime" in done.out
    assert saved.settings == theirs


def test_every_change_stands_in_the_audit_with_what_it_changed(gate: Gate, sqlite_store: Store) -> None:
    gate("settings", "set", "verification.enabled=on")
    gate("settings", "set", "verification.enabled=on")
    gate("list", "exceptions", "add", "192.0.2.1")

    with sqlite_store.read() as connection:
        entries = audit.recent(connection)

    assert [(entry.action, entry.subject, entry.detail) for entry in entries] == [
        ("settings saved", "revision 2", "verification.exceptions: 1 added, 0 removed"),
        ("settings saved", "revision 1", "verification.enabled: false → true"),
    ]
    assert all(entry.actor.endswith("(command line)") and not entry.address for entry in entries)
