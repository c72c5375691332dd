"""The settings as a form: one control a setting, named by the setting's dotted name."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic.fields import FieldInfo

from appliance.settings import InvalidSettings, Problem, Settings, from_document
from appliance.settings.names import SETTINGS
from appliance.web.text import gettext

ON = "on"

Typed = Mapping[str, str]
"""What stands in each control; a switch holds ``on`` or nothing, a list its lines."""


class Kind(StrEnum):
    SWITCH = "switch"
    CHOICE = "choice"
    LINES = "lines"
    NUMBER = "number"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Control:
    """One setting on a page."""

    name: str
    kind: Kind
    title: str
    description: str = ""
    options: tuple[tuple[str, str], ...] = ()
    max_length: int | None = None
    lowest: int | None = None
    highest: int | None = None

    @property
    def label(self) -> str:
        return gettext(self.title)

    @property
    def help(self) -> str:
        return gettext(self.description) if self.description else ""

    @property
    def choices(self) -> tuple[tuple[str, str], ...]:
        """Value and label of each choice."""
        return tuple((value, gettext(label)) for value, label in self.options)

    def in_words(self, value: str) -> str:
        """*value* as a person reads it."""
        match self.kind:
            case Kind.SWITCH:
                return gettext("on") if value else gettext("off")
            case Kind.CHOICE:
                return dict(self.choices).get(value, value)
            case _:
                return value


def _control(name: str, field: FieldInfo) -> Control:
    title, description = field.title or name, field.description or ""
    annotation = field.annotation
    if annotation is bool:
        return Control(name, Kind.SWITCH, title, description)
    if annotation is int:
        lowest = next((int(str(m.ge)) for m in field.metadata if isinstance(m, Ge)), None)
        highest = next((int(str(m.le)) for m in field.metadata if isinstance(m, Le)), None)
        return Control(name, Kind.NUMBER, title, description, lowest=lowest, highest=highest)
    if get_origin(annotation) is tuple:
        return Control(name, Kind.LINES, title, description)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        options = tuple((choice.value, getattr(choice, "label", choice.value)) for choice in annotation)
        return Control(name, Kind.CHOICE, title, description, options=options)
    max_length = next((m.max_length for m in field.metadata if isinstance(m, MaxLen)), None)
    return Control(name, Kind.TEXT, title, description, max_length=max_length)


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {name: _control(name, field) for name, field in SETTINGS.items()}
)


def filled(settings: Settings) -> dict[str, str]:
    """What the controls show for *settings*."""
    document = settings.model_dump(mode="json")
    return {name: _text(_at(document, name)) for name in CONTROLS}


def typed(form: Mapping[str, str]) -> dict[str, str]:
    """What somebody typed into the controls, character by character."""
    return {name: form.get(name, "") for name in CONTROLS}


def read(form: Mapping[str, str]) -> Settings:
    """The settings that *form* asks for. Raises ``InvalidSettings``.

    A control that is missing is a problem, never a default: a form cut short would empty lists silently.
    """
    if lost := missing(form):
        message = gettext("is missing from the form; reload the page and type it again")
        raise InvalidSettings(tuple(Problem(name, message) for name in lost))
    document: dict[str, Any] = {}
    for name, control in CONTROLS.items():
        *groups, last = name.split(".")
        group = document
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = form.get(name) == ON if control.kind is Kind.SWITCH else form[name]
    return from_document(document)


def missing(form: Mapping[str, str]) -> list[str]:
    """The controls that *form* should carry and does not; a switch that is off never travels."""
    return [name for name, c in CONTROLS.items() if c.kind is not Kind.SWITCH and name not in form]


def entries(text: str) -> int:
    """How many entries a list's text holds."""
    return sum(1 for line in text.splitlines() if line.strip())


def _at(document: dict[str, Any], name: str) -> object:
    value: Any = document
    for part in name.split("."):
        value = value[part]
    return value


def _text(value: object) -> str:
    match value:
        case bool():
            return ON if value else ""
        case list():
            return "\n".join(map(str, value))
        case _:
            return str(value)
