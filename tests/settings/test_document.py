"""The settings document: reading, writing, and one problem for each mistake."""

import json
from typing import Any

import pytest

from appliance.settings import (
    Action,
    InvalidSettings,
    Mode,
    Problem,
    Scope,
    Settings,
    from_document,
    to_document,
)


def problems_of(document: Any) -> tuple[Problem, ...]:
    with pytest.raises(InvalidSettings) as caught:
        from_document(document)
    return caught.value.problems


def test_s21_the_defaults_are_those_of_the_model_product() -> None:
    actions = Settings().verification.actions

    assert (actions.none, actions.quarantine, actions.reject, actions.no_record) == (
        Action.DELIVER,
        Action.QUARANTINE,
        Action.REJECT,
        Action.DELIVER,
    )


def test_s28_dmarc_marks_and_reports_are_off_by_default() -> None:
    settings = Settings()

    assert not settings.verification.enabled
    assert not settings.verification.x_header
    assert not settings.reports.enabled
    assert (settings.verification.mode, settings.verification.scope) == (Mode.ENFORCE, Scope.ALL)


def test_export_and_import_are_the_identity_comments_included() -> None:
    settings = from_document(
        {
            "verification": {
                "domains": ["example.com # the bank", "*.example.net"],
                "exceptions": [
                    "192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto",
                    "2001:db8::7",
                ],
            },
            "identity": {"authserv_id": "Example.ORG."},
        }
    )

    again = from_document(to_document(settings))

    assert again == settings
    assert json.loads(to_document(settings))["verification"]["exceptions"][0] == (
        "192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto"
    )


def test_every_mistake_of_a_document_is_named_with_its_field_and_line() -> None:
    problems = problems_of(
        {
            "verification": {
                "enabled": "perhaps",
                "mode": "off",
                "exceptions": "192.0.2.7\n\n1.2.3\n10.0.0.1/8",
                "x_header_name": "X DMARC",
                "colour": "red",
            },
            "network": {"internal": ["fe80::1/10"]},
        }
    )

    assert [(problem.field, problem.line) for problem in problems] == [
        ("verification.enabled", None),
        ("verification.mode", None),
        ("verification.exceptions", 3),
        ("verification.exceptions", 4),
        ("verification.x_header_name", None),
        ("verification.colour", None),
        ("network.internal", 1),
    ]
    assert "write 10.0.0.0/8" in problems[3].message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("0.0.0.0/0", "every address", id="all-of-ipv4"),
        pytest.param("::/0", "every address", id="all-of-ipv6"),
        pytest.param("192.0.2.1 mode=allow", "skip or evaluate", id="mode"),
        pytest.param("192.0.2.1 until=tomorrow", "2027-01-31", id="until"),
        pytest.param("192.0.2.1 mode=skip mode=skip", "twice", id="attribute-twice"),
        pytest.param("192.0.2.1 office", "not understood", id="word-without-comment-sign"),
        pytest.param("# office", "no entry", id="comment-alone"),
        pytest.param("192.0.2.1 # " + "x" * 201, "longer than", id="comment-too-long"),
        pytest.param("192.0.2.1 # a\x1bb", "control characters", id="control-character"),
    ],
)
def test_a_bad_exception_is_refused_with_the_remedy(line: str, message: str) -> None:
    [problem] = problems_of({"verification": {"exceptions": [line]}})

    assert message in problem.message


@pytest.mark.parametrize(
    "line",
    [
        "*",
        "com",
        "*.com",
        "example..com",
        "exa mple.com",
        "-a.example",
        "a" * 64 + ".example",
        "*.*.example.com",
    ],
)
def test_s11_an_invalid_domain_is_refused(line: str) -> None:
    [problem] = problems_of({"verification": {"domains": [line]}})

    assert problem.field == "verification.domains"


def test_s11_variants_of_one_domain_are_one_entry() -> None:
    settings = from_document(
        {
            "verification": {
                "domains": ["Example.com", "example.com.", "bücher.example", "xn--bcher-kva.example"]
            }
        }
    )

    assert [record.key for record in settings.verification.domains] == [
        "example.com",
        "xn--bcher-kva.example",
    ]


def test_a_list_scope_without_domains_is_refused() -> None:
    [problem] = problems_of({"verification": {"scope": "listed"}})

    assert problem.field == "verification.domains"


def test_lists_are_bounded() -> None:
    [problem] = problems_of({"verification": {"domains": [f"d{number}.example" for number in range(10_001)]}})

    assert "10000" in problem.message


def test_s31_reports_need_an_identity() -> None:
    [problem] = problems_of({"reports": {"enabled": True, "readiness_override": "trial"}})

    assert problem.field == "reports.enabled"


@pytest.mark.parametrize(
    "text",
    ["two\r\nlines", "ü", "unknown %{name}", "x" * 201],
    ids=["line-end", "not-ascii", "placeholder", "length"],
)
def test_enf_06_reply_texts_are_one_line_of_ascii_with_known_placeholders(text: str) -> None:
    [problem] = problems_of({"verification": {"reject_text": text}})

    assert problem.field == "verification.reject_text"


@pytest.mark.parametrize("document", ["{", "[]", "null", '"x"', '{"verification": []}', "[" * 100_000])
def test_what_is_no_settings_document_is_refused_in_words(document: str) -> None:
    assert problems_of(document)
