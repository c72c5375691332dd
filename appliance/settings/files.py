"""Files that administrators hand in: bounded, UTF-8, whatever ends their lines."""

import re

from appliance.settings.problems import InvalidSettings, Problem

MAX_LIST_OCTETS = 2 * 1024 * 1024
MAX_DOCUMENT_OCTETS = 32 * 1024 * 1024
"""More than a document takes in which every list is as long as it may be."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_OTHER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def text_of(octets: bytes, field: str, most: int) -> str:
    """*octets* as text, without a byte order mark. Raises ``InvalidSettings`` that names *field*."""
    if len(octets) > most:
        raise _refused(field, f"is longer than {most // 1024 // 1024} MiB")
    if octets.startswith(_OTHER_MARKS):
        raise _refused(field, "is UTF-16 text; save the file as UTF-8")
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(lines_of(octets[: error.start].decode("utf-8", "replace")))
        octet = octets[error.start]
        raise _refused(field, f"octet 0x{octet:02x} is not UTF-8; save the file as UTF-8", line) from None


def lines_of(text: str) -> list[str]:
    """The lines as an editor counts them; ``str.splitlines`` ends lines at characters that a comment can hold."""
    return _LINE_END.split(text)


def _refused(field: str, message: str, line: int | None = None) -> InvalidSettings:
    return InvalidSettings((Problem(field, message, line),))
