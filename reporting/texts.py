"""The words of all mails that we send, from the templates beside this module, in a reader's language.

Plain text, and nothing is escaped: whatever a template is given from outside must be fit for one line of a mail.
"""

import gettext
import textwrap
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

WIDTH = 78
"""Columns of a line, unless one word is longer (RFC 5322 section 2.1.1)."""
LANGUAGE = "en"

_CATALOGUES = Path(__file__).with_name("translations")
_DOMAIN = "mails"


def render(template: str, *, language: str = LANGUAGE, **values: object) -> str:
    """The text of *template*; in English where there is no catalogue for *language*."""
    return _templates(language).get_template(template).render(**values)


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation(_DOMAIN, _CATALOGUES, [language], fallback=True)


@cache
def _templates(language: str) -> Environment:
    templates = Environment(  # noqa: S701  no HTML
        loader=PackageLoader("reporting"),
        extensions=["jinja2.ext.i18n"],
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    templates.install_gettext_translations(_catalogue(language), newstyle=True)  # type: ignore[attr-defined]  # of the extension
    templates.filters["paragraph"] = paragraph
    templates.filters["column"] = _column
    templates.filters["domain"] = _domain
    return templates


def paragraph(text: str, indent: str = "", first: str | None = None) -> str:
    """*text* in lines of at most ``WIDTH`` columns, its words whole; *first* stands before the first line."""
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _column(value: object, width: int) -> str:
    """*value* at the right of a column, or at its left where *width* is negative."""
    text = str(value)
    return text.rjust(width) if width > 0 else text.ljust(-width)


def _domain(name: str, most: int) -> str:
    """The end of a domain name that is too long for its line: there stands whose it is."""
    return name if len(name) <= most else "..." + name[3 - most :]
