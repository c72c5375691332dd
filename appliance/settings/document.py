"""Settings as one readable JSON document, and the problems of one that can't be used."""

import json
from collections.abc import Iterator
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from appliance.settings.fields import LineErrors
from appliance.settings.model import Settings
from appliance.settings.problems import InvalidSettings, Problem


def to_document(settings: Settings) -> str:
    """The settings as indented JSON; lists hold one line of text a record."""
    return json.dumps(settings.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def from_document(document: str | dict[str, Any]) -> Settings:
    """Read a document, or the same as nested dictionaries; what is absent has its default.

    Raises ``InvalidSettings`` with one problem for each field or line.
    """
    if isinstance(document, str):
        try:
            document = cast("dict[str, Any]", json.loads(document))
        except json.JSONDecodeError as error:
            raise InvalidSettings((Problem("document", f"is not JSON: {error.msg}", error.lineno),)) from None
        except RecursionError:
            raise InvalidSettings((Problem("document", "is nested too deeply"),)) from None
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise InvalidSettings(tuple(p for detail in details for p in _problems(detail))) from None


def _problems(detail: ErrorDetails) -> Iterator[Problem]:
    field = ".".join(str(part) for part in detail["loc"]) or "document"
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, LineErrors):
        yield from (Problem(field, message, line) for line, message in cause.errors)
        return
    if isinstance(cause, ValueError):
        own_field, colon, message = str(cause).partition(": ")
        if detail["type"] == "value_error" and colon and own_field.isidentifier() and _is_group(detail):
            yield Problem(f"{field}.{own_field}", message)
        else:
            yield Problem(field, str(cause))
        return
    yield Problem(field, _in_words(detail))


def _is_group(detail: ErrorDetails) -> bool:
    """Whether the problem was found looking at a whole group, so that its message begins with the field."""
    return len(detail["loc"]) == 1


def _in_words(detail: ErrorDetails) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return "is not a setting; check the spelling"
        case "enum":
            return f"must be one of {detail['ctx']['expected']}"
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "string_type":
            return "must be text"
        case _:
            return detail["msg"][0].lower() + detail["msg"][1:]
