"""Every setting by its dotted name, such as ``verification.enabled``."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from appliance.settings.document import from_document
from appliance.settings.model import Settings


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


SETTINGS: Mapping[str, FieldInfo] = MappingProxyType(dict(_leaves(Settings)))
"""In the order of the document."""


def label(name: str) -> str:
    """What people call the setting."""
    return SETTINGS[name].title or name


def value_of(settings: Settings, name: str) -> Any:
    """The value as the model holds it. Raises ``KeyError`` for a name that is no setting."""
    SETTINGS[name]
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def replaced(settings: Settings, values: Mapping[str, object]) -> Settings:
    """*settings* with other *values*, checked as a document's are. Raises ``InvalidSettings`` or ``KeyError``."""
    document = _opened(settings)
    for name, value in values.items():
        SETTINGS[name]
        *groups, last = name.split(".")
        group = document
        for part in groups:
            group = group[part]
        group[last] = value
    return from_document(document)


def _opened(group: BaseModel) -> dict[str, Any]:
    return {name: _opened(value) if isinstance(value, BaseModel) else value for name, value in group}
