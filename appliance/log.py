"""Log lines: one event a line, ``name key=value …``, whatever stands in a value."""

import logging
import re
import sys
from typing import Any, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # nothing to escape or to quote
MAX_VALUE = 400  # characters of one value; keeps a hostile header field from filling the log


def configure(*, level: int = logging.INFO) -> None:
    """Write this process's log to standard error, from *level* up; the service manager adds the time."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, _render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_StandardError,
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Writes to whatever standard error is at the time."""

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    debug = info = warning = error = critical = exception = msg


def get_logger() -> FilteringBoundLogger:
    return cast("FilteringBoundLogger", structlog.get_logger())


def _render(_logger: WrappedLogger, method: str, event: EventDict) -> str:
    """``name key=value``; a traceback follows on lines of its own, indented."""
    name = event.pop("event")
    trace = event.pop("exception", None)
    words = [str(name), *(f"{key}={_show(value)}" for key, value in event.items() if value is not None)]
    if method not in {"info", "debug"}:
        words.insert(1, f"level={method}")
    line = " ".join(words)
    return f"{line}\n{_indent(trace)}" if trace else line


def _show(value: Any) -> str:
    text = str(value)[:MAX_VALUE]
    if _PLAIN.fullmatch(text):
        return text
    escaped = "".join(_escape(char) for char in text)
    return f'"{escaped}"' if not escaped or any(char in ' ="' for char in text) else escaped


def _escape(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else ascii(char)[1:-1]


def _indent(text: str) -> str:
    return "\n".join("  " + "".join(map(_escape_line, line)) for line in text.splitlines())


def _escape_line(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]
