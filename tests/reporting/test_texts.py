"""The words of our mails: they fit their lines, and every one of them can be translated."""

import io
import re
from importlib import resources
from typing import Any

import pytest
from jinja2.ext import babel_extract

from reporting.texts import WIDTH, paragraph, render

LONG = ".".join(["x" * 30] * 2)
AGGREGATE = {
    "policy_domain": LONG,
    "organization": "Gateway & Söhne",
    "address": "dmarc@gateway.test",
    "contact": "https://gateway.test/dmarc " * 5,
    "begin": "2026-03-29 00:00:00",
    "end": "2026-03-29 23:59:59",
    "messages": 42,
    "not_listed": 7,
    "is_whole_day": False,
    "rfc": "9990",
    "report_id": "0123456789abcdef0123456789ab",
}
FAILURE = {
    "author_domain": LONG,
    "policy_domain": LONG,
    "organization": "Gateway & Söhne",
    "address": "dmarc@gateway.test",
    "contact": "",
    "source_ip": "2001:db8::1",
    "received_at": "2026-03-29 10:11:12",
    "failed": f"dmarc=fail (p=reject) header.from={LONG[:40]} policy.dmarc=reject reason=nothing",
    "report_id": "0123456789abcdef0123456789ab",
    "incidents": 4,
    "redacted": True,
}
TEXTS = [
    pytest.param("aggregate.txt", AGGREGATE, id="aggregate"),
    pytest.param("failure.txt", FAILURE, id="failure"),
]


@pytest.mark.parametrize(("template", "values"), TEXTS)
def test_every_line_fits(template: str, values: dict[str, Any]) -> None:
    text = render(template, **values)

    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert "\n\n\n" not in text
    assert LONG in text


@pytest.mark.parametrize(("template", "values"), TEXTS)
def test_a_language_without_a_catalogue_is_english(template: str, values: dict[str, Any]) -> None:
    assert render(template, language="xx", **values) == render(template, **values)


@pytest.mark.parametrize("template", ["aggregate.txt", "failure.txt", "digest.txt"])
def test_no_word_stands_in_a_template_but_in_a_message_for_translators(template: str) -> None:
    octets = resources.files("reporting").joinpath("templates", template).read_bytes()
    messages = list(babel_extract(io.BytesIO(octets), ("gettext", "ngettext"), [], {}))
    source = octets.decode()

    untranslated = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", "", source, flags=re.DOTALL)
    assert re.findall(r"[A-Za-z]+", untranslated) == []
    assert len(messages) == source.count("gettext(")


def test_a_paragraph_keeps_its_words_whole() -> None:
    long = "x" * 100

    assert paragraph(f"one   two\nthree {long} four", "  ") == f"  one two three\n  {long}\n  four"
