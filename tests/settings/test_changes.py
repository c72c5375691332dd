"""What differs between two versions of the settings, and what of it is risky (T46)."""

from collections.abc import Mapping

import pytest

from appliance.settings import Settings
from appliance.settings.changes import ListDifference, ValueChange, diff
from appliance.settings.names import replaced
from appliance.settings.risks import remarks, risks

ON = {"verification.enabled": True}


def settings(values: Mapping[str, object] | None = None) -> Settings:
    return replaced(Settings(), values or {})


def test_a_diff_names_every_setting_that_differs_in_the_order_of_the_document() -> None:
    before = settings({"verification.exceptions": ["192.0.2.1", "192.0.2.2 # printer"]})
    after = settings(
        {
            "reports.organization": "Example",
            "verification.mode": "monitor",
            "verification.exceptions": ["192.0.2.2 # scanner", "192.0.2.1"],
            "verification.domains": ["bücher.example"],
        }
    )

    changes = diff(before, after)

    assert [str(change) for change in changes] == [
        "verification.mode: enforce → monitor",
        "verification.domains: 1 added, 0 removed",
        "verification.exceptions: 1 added, 1 removed",
        'reports.organization: "" → Example',
    ]
    assert changes[1] == ListDifference("verification.domains", ("bücher.example",), ())
    assert changes[2] == ListDifference(
        "verification.exceptions", ("192.0.2.2 # scanner",), ("192.0.2.2 # printer",)
    )


def test_a_list_in_another_order_is_told_as_that() -> None:
    before = settings({"verification.domains": ["a.example", "b.example"]})
    after = settings({"verification.domains": ["b.example", "a.example"]})

    [change] = diff(before, after)

    assert str(change) == "verification.domains: the same entries in another order"


def test_equal_settings_have_no_differences() -> None:
    assert diff(Settings(), settings()) == ()


# ---- risks ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        pytest.param({}, {"verification.actions.no_record": "reject"}, "no_record-reject", id="no-record"),
        pytest.param(
            {}, {"verification.actions.no_record": "quarantine"}, "no_record-quarantine", id="no-record-held"
        ),
        pytest.param({}, {"verification.actions.none": "reject"}, "none-reject", id="none"),
        pytest.param(
            {"verification.actions.no_record": "quarantine"},
            {"verification.actions.no_record": "reject"},
            "no_record-reject",
            id="from-risky-to-riskier",
        ),
        pytest.param(
            {
                "verification.scope": "listed",
                "verification.domains": ["example.com"],
                "verification.actions.none": "reject",
            },
            {"verification.actions.none": "reject"},
            "none-reject",
            id="listed-to-all",
        ),
        pytest.param({}, {"verification.exceptions": ["10.0.0.0/15"]}, "wide-10.0.0.0/15", id="wide"),
        pytest.param({}, {"verification.exceptions": ["2000::/31"]}, "wide-2000::/31", id="wide-ipv6"),
        pytest.param(
            {},
            {"verification.exceptions": ["10.0.0.0/8 from=example.com"]},
            "wide-10.0.0.0/8-example.com",
            id="wide-narrowed-by-what-anybody-can-write",
        ),
        pytest.param(
            {"verification.exceptions": ["10.0.0.0/8 mode=evaluate"]},
            {"verification.exceptions": ["10.0.0.0/8"]},
            "wide-10.0.0.0/8",
            id="wide-evaluate-to-skip",
        ),
        pytest.param(
            {},
            {"verification.engine_failure": "deliver"},
            "engine_failure-deliver",
            id="engine-failure",
        ),
        pytest.param({}, {"network.internal": ["0.0.0.0/0"]}, "internal-0.0.0.0/0", id="all-is-internal"),
        pytest.param({}, {"network.internal": ["8.0.0.0/6"]}, "internal-8.0.0.0/6", id="holds-private-ones"),
        pytest.param(ON, {}, "off", id="off"),
        pytest.param(ON, {**ON, "verification.mode": "monitor"}, "monitor", id="monitor"),
        pytest.param(
            ON,
            {**ON, "verification.scope": "listed", "verification.domains": ["example.com"]},
            "listed",
            id="listed",
        ),
        pytest.param({}, {"retention.quarantine_days": 29}, "quarantine_days-29", id="quarantine-days"),
        pytest.param({}, {"retention.events_percent": 1}, "events_percent-1", id="events-percent"),
    ],
)
def test_t46_what_can_do_harm_is_a_risk(
    before: Mapping[str, object], after: Mapping[str, object], key: str
) -> None:
    found = risks(settings(before), settings(after))

    assert [risk.key for risk in found] == [key]
    assert "%" not in str(found[0])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, ON, id="switched-on"),
        pytest.param({}, {"verification.mode": "monitor"}, id="monitor-while-off"),
        pytest.param({**ON, "verification.mode": "monitor"}, ON, id="enforce"),
        pytest.param({}, {"verification.actions.none": "quarantine"}, id="none-to-quarantine"),
        pytest.param({}, {"verification.exceptions": ["10.0.0.0/16", "2000::/32"]}, id="not-so-wide"),
        pytest.param({}, {"verification.exceptions": ["* dkim=example.com"]}, id="signed"),
        pytest.param({}, {"network.internal": ["10.0.0.0/8", "fc00::/7", "172.16.0.0/12"]}, id="private"),
        pytest.param(
            {},
            {
                "verification.scope": "listed",
                "verification.domains": ["example.com"],
                "verification.actions.no_record": "reject",
            },
            id="listed",
        ),
        pytest.param(
            {"verification.actions.no_record": "reject", "network.internal": ["0.0.0.0/1"]},
            {
                "verification.actions.no_record": "reject",
                "network.internal": ["0.0.0.0/1"],
                "reports.organization": "Example",
            },
            id="confirmed-before",
        ),
        pytest.param({}, {"retention.quarantine_days": 31, "retention.events_days": 60}, id="kept-longer"),
    ],
)
def test_t46_what_does_no_harm_needs_no_confirmation(
    before: Mapping[str, object], after: Mapping[str, object]
) -> None:
    assert risks(settings(before), settings(after)) == ()


def test_every_risk_of_one_change_is_told() -> None:
    after = settings(
        {
            "verification.actions.no_record": "reject",
            "verification.actions.none": "reject",
            "verification.exceptions": ["10.0.0.0/8", "11.0.0.0/8"],
        }
    )

    found = risks(Settings(), after)

    assert [risk.key for risk in found] == [
        "no_record-reject",
        "none-reject",
        "wide-10.0.0.0/8",
        "wide-11.0.0.0/8",
    ]
    assert "set to “Reject” for all author domains" in str(found[0])
    assert "Exception 11.0.0.0/8 is very wide" in str(found[3])


def test_s14_a_protected_domain_on_the_list_gets_a_note() -> None:
    values = {
        "verification.domains": ["*.bücher.example"],
        "identity.protected_domains": ["a.bücher.example"],
    }

    [note] = remarks(settings(values))

    assert str(note).startswith("a.bücher.example is your own domain. Genuine outgoing mail needs no entry")
    assert "all your own senders are authenticated" in str(note)


def test_a_wide_exception_stays_marked() -> None:
    [note] = remarks(settings({"verification.exceptions": ["10.0.0.0/8", "192.0.2.0/24"]}))

    assert "10.0.0.0/8" in str(note)


def test_a_value_change_knows_its_label() -> None:
    [change] = diff(Settings(), settings(ON))

    assert change == ValueChange("verification.enabled", before=False, after=True)
    assert change.label == "Enable DMARC"
