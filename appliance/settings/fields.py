"""Kinds of values that settings hold, with the checks that make them fit to use."""

import re
from functools import partial
from typing import Annotated, TypeVar

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.settings.exceptions import ExceptionRecord
from appliance.settings.records import DomainRecord, InvalidRecord, NetworkRecord, Record

MAX_DOMAINS = 10_000
MAX_NETWORKS = 4_096

_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,75}", re.ASCII)
_R = TypeVar("_R", bound=Record)


class LineErrors(ValueError):
    """Problems of a list, each with its line."""

    def __init__(self, errors: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {number}: {message}" for number, message in errors))
        self.errors = errors


def _read(value: object, kind: type[_R], most: int) -> tuple[_R, ...]:
    """A list of *kind* records from one text, from lines of text or from records; duplicates are merged."""
    lines = value.splitlines() if isinstance(value, str) else value
    if not isinstance(lines, list | tuple):
        raise ValueError("must be a list of lines")  # noqa: TRY004  pydantic turns ValueError into a problem
    found: dict[str, _R] = {}
    errors = []
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(line, kind)
        except InvalidRecord as error:
            errors.append((number, str(error)))
            continue
        if record is not None:
            found.setdefault(record.key, record)
    if errors:
        raise LineErrors(errors)
    if len(found) > most:
        raise ValueError(f"holds {len(found)} entries; the limit is {most}")
    return tuple(found.values())


def _record(line: object, kind: type[_R]) -> _R | None:
    """One record; ``None`` for a blank line."""
    if isinstance(line, kind):
        return line
    if not isinstance(line, str):
        raise InvalidRecord("must be text")
    return kind.parse(line) if line.strip() else None


_AS_LINES = PlainSerializer(lambda records: [str(record) for record in records], return_type=list[str])

Domains = Annotated[
    tuple[DomainRecord, ...], BeforeValidator(partial(_read, kind=DomainRecord, most=MAX_DOMAINS)), _AS_LINES
]
Exceptions = Annotated[
    tuple[ExceptionRecord, ...],
    BeforeValidator(partial(_read, kind=ExceptionRecord, most=MAX_NETWORKS)),
    _AS_LINES,
]
Networks = Annotated[
    tuple[NetworkRecord, ...],
    BeforeValidator(partial(_read, kind=NetworkRecord, most=MAX_NETWORKS)),
    _AS_LINES,
]


def _field_name(value: str) -> str:
    if not _FIELD_NAME.fullmatch(value):
        raise ValueError(
            "is not a header field name: letters, digits and hyphens only, such as X-DMARC-Result"
        )
    if value.lower() in {"from", "to", "subject", "date", "message-id", "received", "authentication-results"}:
        raise ValueError(f"{value} has a meaning of its own; choose a name that begins with X-")
    return value


def _reply_text(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError("must be one line of ASCII text")
    rest = value.replace("%{domain}", "").replace("%{id}", "")
    if "%{" in rest:
        raise ValueError("knows the placeholders %{domain} and %{id} only")
    return value


def _domain_or_nothing(value: str) -> str:
    try:
        return to_a_label(value) if value else ""
    except InvalidDomain as error:
        raise ValueError(f"is not a domain name: {error}") from None


def _address_or_nothing(value: str) -> str:
    if not value:
        return ""
    try:
        found = validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"is not a mail address: {error}") from None
    if found.ascii_email is None:
        raise ValueError("must have an ASCII local part: not every receiver takes others")
    return found.ascii_email


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line without control characters")
    return value.strip()


FieldName = Annotated[str, Field(max_length=76), AfterValidator(_field_name)]
ReplyText = Annotated[str, Field(max_length=200), AfterValidator(_reply_text)]
DomainName = Annotated[str, Field(max_length=253), AfterValidator(_domain_or_nothing)]
MailAddress = Annotated[str, Field(max_length=254), AfterValidator(_address_or_nothing)]
OneLine = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
