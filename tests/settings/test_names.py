"""Settings by their dotted names."""

import json
from typing import Any

import pytest

from appliance.settings import InvalidSettings, Mode, Settings, to_document
from appliance.settings.names import SETTINGS, label, replaced, value_of


def names_in(document: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in document.items():
        found += names_in(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return found


def test_every_setting_of_the_document_has_a_name_a_label_and_a_value() -> None:
    assert list(SETTINGS) == names_in(json.loads(to_document(Settings())))
    assert all(label(name)[0].isupper() or label(name).startswith("p=") for name in SETTINGS)
    assert value_of(Settings(), "verification.mode") is Mode.ENFORCE


def test_several_values_are_replaced_at_once_and_the_others_stay() -> None:
    before = replaced(Settings(), {"verification.domains": ["example.com # shop"]})

    after = replaced(before, {"verification.scope": "listed", "verification.actions.none": "quarantine"})

    assert value_of(after, "verification.domains") == value_of(before, "verification.domains")
    assert (after.verification.scope, after.verification.actions.none) == ("listed", "quarantine")
    assert before.verification.scope == "all"


def test_values_are_checked_together() -> None:
    with pytest.raises(InvalidSettings) as refused:
        replaced(Settings(), {"verification.scope": "listed", "network.internal": "10.0.0.1/8"})

    assert [problem.field for problem in refused.value.problems] == [
        "verification.domains",
        "network.internal",
    ]


@pytest.mark.parametrize("name", ["verification", "verification.nothing", "nothing", "", "verification."])
def test_a_name_that_is_no_setting_is_a_key_error(name: str) -> None:
    with pytest.raises(KeyError):
        value_of(Settings(), name)
    with pytest.raises(KeyError):
        replaced(Settings(), {name: "x"})
