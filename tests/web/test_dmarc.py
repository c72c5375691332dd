"""Sender Filtering > DMARC: one page, saved all or nothing as one revision (S11 to S14, S24, S28 to S34)."""

import pytest

from appliance.settings import Action, Gate, Mode, Scope, Settings
from appliance.store import audit
from appliance.store.engine import Store
from appliance.web import form
from tests.web.visitor import SettingsOf, Visitor

REFUSED = 422


def test_dmarc_is_off_until_somebody_turns_it_on_and_every_page_says_so(anna: Visitor) -> None:
    """S28."""
    pages = [anna.get(path) for path in ("/", "/filtering/dmarc", "/password")]

    assert all("DMARC is off: mail is delivered unchecked." in page.text for page in pages)
    assert "verification.enabled" not in pages[1].values


def test_turning_off_keeps_all_lists_and_settings(anna: Visitor, saved: SettingsOf) -> None:
    """S28, S29; T46: once confirmed."""
    anna.change(verification__enabled="on", verification__exceptions="192.0.2.1 # printer")

    asked = anna.change(without=("verification.enabled",))
    still_on = saved.current().settings.verification.enabled
    anna.save(asked, confirmed="off")

    settings = saved.current().settings
    assert still_on
    assert not settings.verification.enabled
    assert [str(entry) for entry in settings.verification.exceptions] == ["192.0.2.1 # printer"]


def test_every_field_is_saved_as_one_revision_and_read_back(anna: Visitor, saved: SettingsOf) -> None:
    """S34."""
    typed = {
        "verification.enabled": "on",
        "verification.mode": "monitor",
        "verification.scope": "listed",
        "verification.domains": "example.com # shop\n*.example.net",
        "verification.exceptions": "192.0.2.0/24 mode=evaluate until=2027-01-01 # office\n2001:db8::1",
        "verification.actions.none": "quarantine",
        "verification.actions.quarantine": "reject",
        "verification.actions.reject": "quarantine",
        "verification.actions.no_record": "quarantine",
        "verification.actions.temporary_error": "defer",
        "verification.actions.unusable_from": "reject",
        "verification.x_header": "on",
        "verification.x_header_name": "X-Our-DMARC",
        "verification.reject_text": "No, %{domain} (%{id})",
        "verification.defer_text": "Later, %{domain}",
        "verification.engine_failure": "deliver",
        "network.internal": "10.0.0.0/8",
        "network.known_hosts": "198.51.100.7 # relay",
        "network.trusted_forwarders": "203.0.113.0/24",
        "network.trusted_sealers": "*.list.example # the lists of a partner",
        "signatures.partial_body_counts": "on",
        "signatures.unsigned_duplicates_count": "on",
        "signatures.min_rsa_bits": "2048",
        "signatures.max_arc_sets": "50",
        "identity.authserv_id": "mx.example.com",
        "identity.protected_domains": "example.com",
        "reports.enabled": "on",
        "reports.readiness_override": "checked by hand",
        "reports.organization": "Example & Sons",
        "reports.address": "dmarc@example.com",
        "reports.contact": "https://example.com/contact",
        "reports.gate": "all",
        "reports.allowed_domains": "partner.example",
        "reports.denied_domains": "noisy.example",
        "reports.collect_only": "on",
        "reports.format": "legacy",
        "reports.legacy_domains": "old.example",
        "reports.new_destinations_per_day": "10",
        "reports.destinations_per_day": "50",
        "reports.bounce_domain": "bounces.example.com",
        "reports.failure_enabled": "on",
        "reports.failure_per_destination": "2",
        "reports.failure_per_day": "20",
        "reports.digest_address": "postmaster@example.com",
        "retention.events_days": "60",
        "retention.events_percent": "40",
        "retention.facts_days": "90",
        "retention.quarantine_days": "45",
        "retention.quarantine_percent": "25",
    }
    switched_off = (
        "verification.skip_authenticated",
        "verification.actions.soften_indirect",
        "reports.failure_redaction",
        "reports.recipient_domain",
    )
    page = anna.get("/filtering/dmarc")

    asked = anna.save(page, typed, without=switched_off, comment="from the old machine")
    after = anna.save(asked, confirmed="engine_failure-deliver")

    revision = saved.current()
    assert after.status == 200
    assert "Saved as revision 1." in after.text
    assert (revision.number, revision.author, revision.comment) == (1, "anna", "from the old machine")
    assert {name: after.values.get(name) for name in typed} == typed
    assert not set(switched_off) & set(after.values)
    assert set(typed) | set(switched_off) == {n for n in after.ids if n in form.CONTROLS}
    settings = revision.settings
    assert settings.verification.mode is Mode.MONITOR
    assert settings.verification.scope is Scope.LISTED
    assert settings.reports.gate is Gate.ALL
    assert not settings.verification.skip_authenticated


@pytest.mark.parametrize("action", ["deliver", "quarantine", "reject"])
@pytest.mark.parametrize("row", ["none", "quarantine", "reject", "no_record"])
def test_each_row_takes_each_action(anna: Visitor, saved: SettingsOf, row: str, action: str) -> None:
    """S24, with the confirmation that a risky one needs."""
    page = anna.change({f"verification.actions.{row}": action})
    if page.status == REFUSED:
        key = next(name for name in page.ids if name.startswith("confirmed-"))
        page = anna.save(page, confirmed=key.removeprefix("confirmed-"))

    assert page.status == 200
    assert getattr(saved.current().settings.verification.actions, row) is Action(action)


@pytest.mark.parametrize(
    ("row", "action"),
    [
        pytest.param("no_record", "quarantine", id="no record to quarantine"),
        pytest.param("no_record", "reject", id="no record to reject"),
        pytest.param("none", "reject", id="p=none to reject"),
    ],
)
def test_a_choice_that_can_stop_honest_mail_is_saved_only_when_confirmed(
    anna: Visitor, saved: SettingsOf, row: str, action: str
) -> None:
    """S24, T46."""
    asked = anna.change({f"verification.actions.{row}": action, "reports.organization": "Kept"})
    again = anna.save(asked)
    unsaved = saved.current().number
    done = anna.save(again, confirmed=f"{row}-{action}")

    assert asked.status == again.status == REFUSED
    assert "Please confirm. Nothing was saved yet." in asked.text
    assert asked.values["reports.organization"] == "Kept"
    assert unsaved == 0
    assert "Saved as revision 1." in done.text


def test_what_was_confirmed_once_is_not_asked_again(anna: Visitor, saved: SettingsOf) -> None:
    saved.save({"verification": {"actions": {"no_record": "reject"}}})

    page = anna.change(reports__organization="Example")

    assert "Saved as revision 2." in page.text


def test_the_same_choice_for_listed_domains_needs_no_confirmation(anna: Visitor) -> None:
    page = anna.change(
        verification__scope="listed",
        verification__domains="example.com",
        verification__actions__none="reject",
    )

    assert "Saved as revision 1." in page.text


def test_going_from_listed_to_all_domains_asks_about_the_actions_that_now_reach_everybody(
    anna: Visitor, saved: SettingsOf
) -> None:
    verification = {"scope": "listed", "domains": ["example.com"], "actions": {"no_record": "reject"}}
    saved.save({"verification": verification})

    page = anna.change(verification__scope="all")

    assert page.status == REFUSED
    assert "Please confirm" in page.text


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        pytest.param(
            "verification.exceptions",
            "10.0.0.0/8 # fine\r\n1.2.3",
            'Line 2: "1.2.3" is not an IP address or network',
            id="no address",
        ),
        pytest.param("verification.exceptions", "192.0.2.1/24", "write 192.0.2.0/24", id="host bits"),
        pytest.param("verification.exceptions", "0.0.0.0/0", "switch DMARC off instead", id="every address"),
        pytest.param("verification.domains", "example..com", "is not a domain name", id="no domain"),
        pytest.param("verification.domains", "com", "whole top-level domain", id="top-level domain"),
        pytest.param(
            "verification.x_header_name", "X Result:", "is not a header field name", id="header name"
        ),
        pytest.param(
            "verification.reject_text", "%{who}", "holds another placeholder than", id="placeholder"
        ),
        pytest.param("verification.mode", "maybe", "must be one of", id="no such mode"),
        pytest.param("signatures.max_arc_sets", "many", "must be a whole number", id="no number"),
        pytest.param("signatures.max_arc_sets", "0", "is too small; the least is 1", id="too few sets"),
        pytest.param("reports.address", "nobody", "is not a mail address", id="no mail address"),
        pytest.param("identity.authserv_id", "<script>", "is not a domain name", id="no host name"),
    ],
)
def test_a_mistake_is_told_beside_its_field_and_on_top_and_everything_typed_stays(
    anna: Visitor, saved: SettingsOf, name: str, typed: str, message: str
) -> None:
    page = anna.change({name: typed, "reports.organization": '  odd "text" & <more>  ', "comment": "why"})

    assert page.status == REFUSED
    assert "There is 1 problem. Nothing was saved." in page.text
    assert page.text.count(message.removeprefix("Line 2: ")) >= 2
    assert message in page.text
    assert f'href="#{name}"' in page.html
    if name != "verification.mode":
        assert page.ids[name]["aria-invalid"] == "true"
        assert f"{name}-problem" in (page.ids[name]["aria-describedby"] or "")
        assert page.values[name] == typed.replace("\r\n", "\n")
    assert f"{name}-problem" in page.ids
    assert page.values["reports.organization"] == '  odd "text" & <more>  '
    assert page.values["comment"] == "why"
    assert saved.current().number == 0


def test_all_problems_are_told_at_once(anna: Visitor) -> None:
    page = anna.change(
        verification__exceptions="1.2.3\r\n\r\n4.5.6",
        verification__domains="com",
        signatures__max_arc_sets="x",
    )

    assert "There are 4 problems." in page.text
    assert "Line 3:" in page.text


def test_listed_scope_with_an_empty_list_is_refused(anna: Visitor) -> None:
    """S12."""
    page = anna.change(verification__scope="listed")

    assert page.status == REFUSED
    assert "the list is empty, so nothing would be checked" in page.text
    assert page.ids["verification.domains"]["aria-invalid"] == "true"


def test_reports_need_an_identity_first(anna: Visitor) -> None:
    """S31."""
    page = anna.change(reports__enabled="on")

    assert page.status == REFUSED
    assert "set the organization name and the report address first" in page.text
    assert page.values["reports.enabled"] == "on"


def test_repeated_entries_are_merged_with_a_note(anna: Visitor, saved: SettingsOf) -> None:
    """S11: case, trailing dot and U-label are the same entry."""
    page = anna.change(
        verification__domains="Example.com.\r\nexample.com\r\nbücher.example\r\nxn--bcher-kva.example"
    )

    assert [d.key for d in saved.current().settings.verification.domains] == [
        "example.com",
        "xn--bcher-kva.example",
    ]
    assert "Domain list: 2 repeated entries were merged." in page.text
    assert "xn--bcher-kva.example = bücher.example" in page.text


def test_an_own_domain_on_the_list_is_allowed_with_a_note(anna: Visitor) -> None:
    """S14."""
    page = anna.change(
        verification__scope="listed",
        verification__domains="example.com",
        identity__protected_domains="example.com",
    )

    assert "Saved as revision 1." in page.text
    assert "example.com is your own domain." in page.text


@pytest.mark.parametrize("network", ["10.0.0.0/8", "2001:d00::/24"])
def test_a_very_wide_exception_is_saved_once_confirmed_and_stays_marked(
    anna: Visitor, saved: SettingsOf, network: str
) -> None:
    """T46."""
    asked = anna.change(verification__exceptions=f"{network}\r\n192.0.2.0/24")
    unsaved = saved.current().number
    page = anna.save(asked, confirmed=f"wide-{network}")

    assert "Please confirm. Nothing was saved yet." in asked.text
    assert unsaved == 0
    assert "Saved as revision 1." in page.text
    assert page.text.count("is very wide") == 1
    assert f"Exception {network}" in page.text


def test_restore_defaults_refills_the_action_table_and_saves_nothing(
    anna: Visitor, saved: SettingsOf
) -> None:
    saved.save({"verification": {"actions": {"reject": "deliver", "soften_indirect": False}}})
    page = anna.get("/filtering/dmarc")

    restored = anna.save(page, do="restore", reports__organization="Typed before")

    defaults = form.filled(Settings())
    actions = [name for name in defaults if name.startswith("verification.actions.")]
    assert len(actions) == 7
    assert {name: restored.values.get(name) for name in actions} == {name: defaults[name] for name in actions}
    assert restored.values["reports.organization"] == "Typed before"
    assert "Nothing is saved yet." in restored.text
    assert saved.current().number == 1


def test_a_save_over_somebody_else_s_is_refused_and_shows_the_difference(
    anna: Visitor, saved: SettingsOf
) -> None:
    page = anna.get("/filtering/dmarc")
    saved.save({"verification": {"enabled": True, "actions": {"reject": "quarantine"}}}, author="bob")

    conflict = anna.save(page, verification__actions__reject="deliver", reports__organization="Mine")

    assert conflict.status == 409
    assert "bob saved revision 1 while you were editing" in conflict.text
    assert "both changed it" in conflict.text
    assert "Enable DMARC off on off" in conflict.text  # where I began, theirs, mine
    assert conflict.values["reports.organization"] == "Mine"
    assert conflict.values["verification.actions.reject"] == "deliver"
    assert conflict.values["revision"] == "1"
    assert saved.current().author == "bob"


def test_after_a_conflict_mine_can_replace_theirs(anna: Visitor, saved: SettingsOf) -> None:
    page = anna.get("/filtering/dmarc")
    saved.save({"verification": {"enabled": True}})
    conflict = anna.save(page, reports__organization="Mine")

    asked = anna.save(conflict)
    done = anna.save(asked, confirmed="off")

    settings = saved.current().settings
    assert "Saved as revision 2." in done.text
    assert settings.reports.organization == "Mine"
    assert not settings.verification.enabled


def test_after_a_conflict_my_changes_can_go_on_top_of_theirs(anna: Visitor, saved: SettingsOf) -> None:
    page = anna.get("/filtering/dmarc")
    saved.save({"verification": {"enabled": True, "exceptions": ["192.0.2.1"]}})
    conflict = anna.save(page, reports__organization="Mine")

    combined = anna.save(conflict, do="combine")
    unsaved = saved.current().number
    anna.save(combined)

    settings = saved.current().settings
    assert unsaved == 1
    assert settings.reports.organization == "Mine"
    assert settings.verification.enabled
    assert len(settings.verification.exceptions) == 1


def test_a_save_without_changes_makes_no_revision(anna: Visitor, saved: SettingsOf) -> None:
    saved.save({"verification": {"enabled": True}})

    page = anna.change()

    assert "Nothing was changed" in page.text
    assert saved.current().number == 1


def test_a_save_tells_what_it_changed(anna: Visitor) -> None:
    page = anna.change(
        verification__enabled="on",
        verification__actions__reject="quarantine",
        verification__exceptions="192.0.2.1",
    )

    assert "Enable DMARC: off → on" in page.text
    assert "p=reject: Reject → Quarantine" in page.text
    assert "Exception list: 1 added, 0 removed" in page.text


def test_a_save_stands_in_the_audit(anna: Visitor, store: Store) -> None:
    anna.change(verification__enabled="on")

    with store.read() as connection:
        latest = audit.recent(connection)[0]
    assert (latest.actor, latest.action, latest.subject) == ("anna", "settings saved", "revision 1")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        pytest.param("monitor", "Monitor only: nothing is stopped.", id="monitor"),
        pytest.param("enforce", "Enabled · Enforce · all author domains · 0 exceptions", id="enforce"),
    ],
)
def test_the_page_says_on_top_what_is_in_force(anna: Visitor, mode: str, words: str) -> None:
    page = anna.change(verification__enabled="on", verification__mode=mode)

    assert words in page.text
    assert "DMARC is off" not in page.text


@pytest.mark.parametrize("revision", ["", "-1", "1x", "9" * 40, "²"])
def test_a_form_without_a_sound_revision_number_is_refused(anna: Visitor, revision: str) -> None:
    page = anna.change(revision=revision)

    assert page.status == 400
    assert "which revision it belongs to" in page.text


def test_a_form_for_a_revision_that_never_was_is_refused(anna: Visitor, saved: SettingsOf) -> None:
    page = anna.change(revision="77", reports__organization="Mine")

    assert page.status == 400
    assert saved.current().number == 0


def test_a_list_at_its_limit_can_be_saved(anna: Visitor, saved: SettingsOf) -> None:
    domains = "\r\n".join(f"host{number}.example.com # a comment that stays" for number in range(10_000))

    page = anna.change(verification__domains=domains)

    assert "Saved as revision 1." in page.text
    assert len(saved.current().settings.verification.domains) == 10_000


def test_a_store_that_fails_loses_nothing_typed(anna: Visitor, store: Store, saved: SettingsOf) -> None:
    page = anna.get("/filtering/dmarc")
    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE session RENAME TO away")

    failed = anna.save(page, reports__organization="Mine", verification__domains="example.com\r\nexample.org")
    with store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO session")
    again = anna.save(failed)

    assert failed.status == 503
    assert "The store cannot be used now" in failed.text
    assert "Saved as revision 1." in again.text
    settings = saved.current().settings
    assert settings.reports.organization == "Mine"
    assert len(settings.verification.domains) == 2


def test_agg_34_reports_are_not_switched_on_by_a_form_without_a_readiness_check(
    anna: Visitor, saved: SettingsOf
) -> None:
    """The remedy stands beside the field that the reason would go into; S2 is refused in the same way."""
    identity = {"reports.organization": "Example", "reports.address": "d@example.com"}

    without_check = anna.change({"verification.enabled": "on", "reports.enabled": "on", **identity})
    without_verification = anna.change(
        {"reports.enabled": "on", "reports.readiness_override": "x", **identity}
    )

    assert (without_check.status, without_verification.status) == (REFUSED, REFUSED)
    assert "run dmarcgate report readiness" in without_check.text
    assert without_check.values["reports.organization"] == "Example"
    assert "switch DMARC on" in without_verification.text
    assert saved.current().number == 0
