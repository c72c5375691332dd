"""Settings as one readable JSON document, and the problems of one that can't be used."""

import json
from collections.abc import Iterator
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from appliance.settings.fields import LineErrors
from appliance.settings.files import MAX_DOCUMENT_OCTETS, text_of
from appliance.settings.model import Settings
from appliance.settings.problems import InvalidSettings, Problem
from appliance.settings.records import shorten

_WHOLE = "document"

_WHOLE_NUMBER = "must be a whole number"

_WORDS = {
    "enum": "must be one of {expected}",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "finite_number": _WHOLE_NUMBER,
    "greater_than_equal": "is too small; the least is {ge}",
    "less_than_equal": "is too large; the most is {le}",
    "string_type": "must be text",
    "string_unicode": "holds characters that are no text",
    "string_too_long": "is too long; at most {max_length} characters",
    "model_type": "must be an object with settings in it",
}
"""What pydantic finds wrong, said to a postmaster; it stands behind the value."""


def to_document(settings: Settings) -> str:
    """The settings as indented JSON; lists hold one line of text a record."""
    return json.dumps(settings.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def from_document(document: str | bytes | dict[str, Any]) -> Settings:
    """Read a document, or the same as nested dictionaries; what is absent has its default.

    Raises ``InvalidSettings`` with one problem for each field or line.
    """
    if isinstance(document, bytes):
        document = text_of(document, _WHOLE, MAX_DOCUMENT_OCTETS)
    if isinstance(document, str):
        document = cast("dict[str, Any]", _parsed(document))
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise InvalidSettings(tuple(p for detail in details for p in _problems(detail))) from None


def _parsed(document: str) -> object:
    try:
        return json.loads(document, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        problem = Problem(_WHOLE, f"is not JSON: {error.msg}", error.lineno)
    except RecursionError:
        problem = Problem(_WHOLE, "is nested too deeply")
    except ValueError as error:  # a number of thousands of digits
        problem = Problem(_WHOLE, f"is not JSON that can be read: {error}")
    raise InvalidSettings((problem,))


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of the document; of a name that stands in it twice nobody could tell which value was meant."""
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidSettings((Problem(shorten(name), "is given twice; keep one"),))
        found[name] = value
    return found


def _problems(detail: ErrorDetails) -> Iterator[Problem]:
    field = ".".join(shorten(str(part)) for part in detail["loc"]) or _WHOLE
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, LineErrors):
        yield from cause.problems(field)
        return
    if isinstance(cause, ValueError):
        own_field, colon, message = str(cause).partition(": ")
        if colon and own_field.isidentifier() and _is_group(detail):
            yield Problem(f"{field}.{own_field}", message)
            return
    if detail["type"] == "extra_forbidden":
        yield Problem(field, "is not a setting; check the spelling")
        return
    message = str(cause) if isinstance(cause, ValueError) else _in_words(detail)
    yield Problem(field, f"{_shown(detail['input'])}{message}")


def _is_group(detail: ErrorDetails) -> bool:
    """Whether the problem was found looking at a whole group, so that its message begins with the field."""
    return len(detail["loc"]) == 1


def _shown(value: object) -> str:
    """The value that was given, to stand before what is wrong with it; nothing for a list or a group."""
    match value:
        case str():
            return f'"{shorten(value)}" '
        case bool() | int() | float() | None:
            return f"{shorten(json.dumps(value))} "
        case _:
            return ""


def _in_words(detail: ErrorDetails) -> str:
    words = _WORDS.get(detail["type"])
    if words is None:
        return detail["msg"][0].lower() + detail["msg"][1:]
    return words.format_map(detail.get("ctx", {}))
