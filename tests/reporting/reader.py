"""parsedmarc as a reader of our reports: a program that many receivers use."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", (DeprecationWarning, ResourceWarning))  # its and its libraries' own
    import parsedmarc


def read_mail(message: bytes) -> dict[str, Any]:
    """The aggregate report in *message*; a warning of the reader's is a failure."""
    return _read(message, "aggregate")


def read_failure(message: bytes) -> dict[str, Any]:
    """The same for a failure report."""
    return _read(message, "failure")


def _read(message: bytes, kind: str) -> dict[str, Any]:
    with _no_complaints():
        parsed = parsedmarc.parse_report_email(message, offline=True)
    assert parsed["report_type"] == kind
    report: dict[str, Any] = parsed["report"]
    return report


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _no_complaints() -> Iterator[None]:
    complaints = _Complaints()
    logger = logging.getLogger("parsedmarc")
    logger.addHandler(complaints)
    try:
        yield
    finally:
        logger.removeHandler(complaints)
    assert complaints.texts == []
