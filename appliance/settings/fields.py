"""Kinds of values that settings hold, with the checks that make them fit to use."""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Annotated, TypeVar

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.settings.exceptions import ExceptionRecord
from appliance.settings.files import MAX_LIST_OCTETS, lines_of
from appliance.settings.problems import Problem
from appliance.settings.records import DomainRecord, InvalidRecord, NetworkRecord, Record, shorten

MAX_DOMAINS = 10_000
MAX_NETWORKS = 4_096
MAX_ERRORS = 100
"""Bad lines of a list that are told one by one."""

_FIELD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,75}", re.ASCII)
_R = TypeVar("_R", bound=Record)


class LineErrors(ValueError):
    """Problems of a list, each with its line: the first ones, and how many more there are."""

    def __init__(self, errors: Sequence[tuple[int, str]], more: int = 0) -> None:
        super().__init__("; ".join(f"line {number}: {message}" for number, message in errors))
        self.errors = errors
        self.more = more

    def problems(self, field: str) -> Iterator[Problem]:
        """Each of them as a problem of *field*."""
        for number, message in self.errors:
            yield Problem(field, message, number)
        if self.more:
            lines = "line" if self.more == 1 else "lines"
            yield Problem(field, f"{self.more} more {lines} can't be used; put these right first")


def read_lines(lines: Iterable[object], kind: type[_R]) -> list[tuple[int, _R]]:
    """The record of each line that is not blank, with the line's number. Raises ``LineErrors``."""
    found: list[tuple[int, _R]] = []
    errors: list[tuple[int, str]] = []
    bad = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(line, kind)
        except InvalidRecord as error:
            bad += 1
            if bad <= MAX_ERRORS:
                errors.append((number, str(error)))
            continue
        if record is not None:
            found.append((number, record))
    if bad:
        raise LineErrors(errors, bad - len(errors))
    return found


def _read(value: object, kind: type[_R], most: int) -> tuple[_R, ...]:
    """A list of *kind* records from one text, from lines of text or from records; duplicates are merged."""
    lines = lines_of(value) if isinstance(value, str) else value
    if not isinstance(lines, list | tuple):
        raise ValueError("must be a list of lines")  # noqa: TRY004  pydantic turns ValueError into a problem
    found: dict[str, _R] = {}
    for _, record in read_lines(lines, kind):
        found.setdefault(record.key, record)
    if len(found) > most:
        raise ValueError(f"holds {len(found)} entries; the limit is {most}")
    if sum(len(str(record).encode()) + 1 for record in found.values()) > MAX_LIST_OCTETS:
        raise ValueError(f"is longer than {MAX_LIST_OCTETS // 1024 // 1024} MiB; shorten its comments")
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
        raise ValueError("has a meaning of its own; choose a name that begins with X-")
    return value


def _reply_text(value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError("must be one line of ASCII text")
    rest = value.replace("%{domain}", "").replace("%{id}", "")
    if "%{" in rest:
        raise ValueError("holds another placeholder than %{domain} and %{id}")
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
        raise ValueError(f"is not a mail address: {shorten(str(error), 200)}") from None
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
