"""The form: every setting has a labelled control, what it shows can be read back, and nothing goes missing."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from appliance.settings import InvalidSettings, Settings, from_document
from appliance.web import form
from appliance.web.form import CONTROLS
from appliance.web.text import visible
from tests.web.visitor import Visitor


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted name of every setting."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize("name", list(leaves(Settings)))
def test_every_setting_has_a_labelled_control_on_the_one_page(anna: Visitor, name: str) -> None:
    """S34."""
    page = anna.get("/filtering/dmarc")

    control = CONTROLS[name]
    assert name in page.ids
    assert page.labels.get(name) == control.title or page.ids[name].get("aria-labelledby") == f"{name}-title"
    if control.description:
        assert page.ids[name].get("aria-describedby") == f"{name}-help"
    if control.kind is not form.Kind.SWITCH:
        assert name in page.values


def test_what_the_defaults_fill_in_reads_back_as_the_defaults() -> None:
    filled = form.filled(Settings())

    assert form.read({name: text for name, text in filled.items() if text or "." in name}) == Settings()


def test_a_filled_form_reads_back_as_the_same_settings() -> None:
    settings = from_document(
        {
            "verification": {
                "enabled": True,
                "mode": "monitor",
                "scope": "listed",
                "domains": ["example.com # ours", "*.bücher.example"],
                "exceptions": ["192.0.2.0/24 mode=evaluate until=2027-01-01 # office"],
                "actions": {"reject": "quarantine", "temporary_error": "defer", "soften_indirect": False},
            },
            "signatures": {"max_arc_sets": 7},
        }
    )

    assert form.read(form.filled(settings)) == settings


def test_a_form_cut_short_is_refused_instead_of_emptying_lists() -> None:
    filled = form.filled(Settings())
    del filled["network.internal"]

    with pytest.raises(InvalidSettings) as refused:
        form.read(filled)

    assert [problem.field for problem in refused.value.problems] == ["network.internal"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain äß 日本", "plain äß 日本", id="plain"),
        pytest.param("a\u202eb\u2066c", "a\\u202eb\\u2066c", id="bidi"),
        pytest.param("a\r\nb\x00\x1b[31m", "a\\u000d\\u000ab\\u0000\\u001b[31m", id="control"),
        pytest.param("\U000e0041", "\\U000e0041", id="tag characters"),
        pytest.param("x" * 300, "x" * 200 + "…", id="long"),
    ],
)
def test_hidden_characters_of_strangers_are_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
