from collections.abc import Mapping
from ipaddress import ip_address

import pytest

from appliance.checks.answers import Answers, Missing
from appliance.checks.spf import check_spf, spf_questions
from appliance.mail.authentication import SpfResult, SpfScope, SpfWord
from appliance.resolver import Answer, Question, RecordType, Status
from tests.checks.mails import answered

CLIENT = ip_address("192.0.2.1")
ORG = "example.org"


def check(
    texts: Mapping[str, bytes | Status | list[bytes]],
    *,
    mail_from: str = "ann@example.org",
    helo: str = "mx.example.org",
    client: str | None = "192.0.2.1",
    more: Mapping[Question, Answer] | None = None,
) -> SpfResult:
    answers = Answers(answered(texts) | dict(more or {}))
    return check_spf(ip_address(client) if client else None, helo, mail_from, answers)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(b"v=spf1 ip4:192.0.2.0/24 -all", SpfWord.PASS, id="pass"),
        pytest.param(b"v=spf1 -all", SpfWord.FAIL, id="fail"),
        pytest.param(b"v=spf1 ~all", SpfWord.SOFTFAIL, id="softfail"),
        pytest.param(b"v=spf1 ?all", SpfWord.NEUTRAL, id="neutral"),
        pytest.param(b"v=spf1", SpfWord.NEUTRAL, id="nothing matches"),
        pytest.param(Status.NXDOMAIN, SpfWord.NONE, id="no domain"),
        pytest.param(Status.NO_DATA, SpfWord.NONE, id="no record"),
        pytest.param([b"v=spf10", b"other"], SpfWord.NONE, id="other records SPF-06"),
        pytest.param([b"v=spf1 -all", b"other"], SpfWord.FAIL, id="one among others SPF-06"),
        pytest.param(Status.TEMPORARY, SpfWord.TEMPERROR, id="timeout T20"),
    ],
)
def test_results(record: bytes | Status, expected: SpfWord) -> None:
    found = check({ORG: record})

    assert (found.result, found.domain, found.scope) == (expected, ORG, SpfScope.MAIL_FROM)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param([b"v=spf1 -all", b"v=spf1 +all"], "several SPF records", id="several SPF-06"),
        pytest.param(b"v=spf1 ip4:999.1.1.1 -all", "invalid record", id="syntax"),
        pytest.param(b"v=spf1 \xff -all", "invalid record", id="not ASCII"),
        pytest.param(b"v=spf1 include:example.org -all", "record includes itself", id="includes itself"),
        pytest.param(
            b"v=spf1 redirect=none.example", "redirect to a domain without record", id="redirect SPF-07"
        ),
        pytest.param(
            b"v=spf1 include:none.example", "include of a domain without record", id="include SPF-07"
        ),
        pytest.param(
            b"v=spf1 " + b"include:ok.example " * 11, "more than 10 terms with DNS lookups", id="terms SPF-01"
        ),
        pytest.param(b"v=spf1 exists:%{z}.example -all", "invalid record", id="macro SPF-08"),
    ],
)
def test_bad_records_are_permerror_with_a_reason_in_our_words(
    record: bytes | list[bytes], reason: str
) -> None:
    found = check({ORG: record, "none.example": Status.NXDOMAIN, "ok.example": b"v=spf1 ?all"})

    assert found == SpfResult(SpfWord.PERMERROR, ORG, reason=reason)


def test_the_third_void_lookup_is_one_too_many() -> None:
    """SPF-02."""
    nowhere = answered(
        {f"{n}.example": Status.NXDOMAIN if n % 2 else Status.NO_DATA for n in range(3)}, RecordType.A
    )

    two = check({ORG: b"v=spf1 a:0.example a:1.example ?all"}, more=nowhere)
    three = check({ORG: b"v=spf1 a:0.example a:1.example a:2.example ?all"}, more=nowhere)

    assert two.result is SpfWord.NEUTRAL
    assert (three.result, three.reason) == (SpfWord.PERMERROR, "more than 2 void lookups")


def test_a_temporary_failure_deep_inside_is_temperror() -> None:
    found = check({ORG: b"v=spf1 include:a.example -all", "a.example": Status.TEMPORARY})

    assert found == SpfResult(SpfWord.TEMPERROR, ORG, reason="timeout")


def test_a_match_before_the_trouble_stands() -> None:
    found = check({ORG: b"v=spf1 ip4:192.0.2.1 include:a.example -all", "a.example": Status.TEMPORARY})

    assert found.result is SpfWord.PASS


def test_the_null_reverse_path_is_checked_by_its_helo_name() -> None:
    """SPF-10, ALN-01, S6."""
    found = check({"mx.example.org": b"v=spf1 ip4:192.0.2.1 -all"}, mail_from="")

    assert found == SpfResult(SpfWord.PASS, "mx.example.org", SpfScope.HELO)


def test_a_helo_pass_never_stands_in_for_another_mail_from() -> None:
    """T6, S6."""
    found = check({ORG: b"v=spf1 -all", "mx.example.org": b"v=spf1 +all"})

    assert (found.result, found.domain) == (SpfWord.FAIL, ORG)


@pytest.mark.parametrize(
    ("mail_from", "domain"),
    [
        pytest.param("postmaster", "", id="no domain"),
        pytest.param("a@localhost", "localhost", id="one label SPF-09"),
        pytest.param("a@[192.0.2.1]", "", id="address literal"),
        pytest.param("a@b@example.org", "", id="two at signs T6"),
        pytest.param("@relay.example:a@example.org", "", id="route T6"),
        pytest.param("a@example.org(.evil.example", "", id="parenthesis T6"),
        pytest.param('"a@example.org', "", id="open quote T6"),
        pytest.param("a@exam ple.org", "", id="space in the domain"),
        pytest.param("a b@example.org", "", id="space in the local part"),
        pytest.param("a@example..org", "", id="empty label SPF-09"),
        pytest.param("a@" + "x" * 64 + ".org", "", id="long label SPF-09"),
        pytest.param("a@\udce9.org", "", id="undecodable"),
    ],
)
def test_nothing_to_check_is_none_and_asks_nothing(mail_from: str, domain: str) -> None:
    assert check({}, mail_from=mail_from) == SpfResult(SpfWord.NONE, domain, reason="no domain to check")
    assert spf_questions(CLIENT, "mx.example.org", mail_from) == ()


@pytest.mark.parametrize("helo", ["", "[192.0.2.1]", "localhost", "not a name", "192.0.2.1"])
def test_a_helo_that_is_no_name_is_none(helo: str) -> None:
    """SPF-10."""
    found = check({helo: Status.NXDOMAIN}, mail_from="", helo=helo)

    assert found.result is SpfWord.NONE


def test_without_a_client_address_there_is_nothing_to_check() -> None:
    """ALN-08."""
    assert check({}, client=None) == SpfResult(SpfWord.NONE, ORG, reason="no client address")


def test_a_quoted_at_sign_is_part_of_the_local_part() -> None:
    found = check({ORG: b"v=spf1 ip4:192.0.2.1 -all"}, mail_from='"a@evil.example"@Example.ORG')

    assert (found.result, found.domain) == (SpfWord.PASS, ORG)


def test_internationalized_domains_are_checked_as_a_labels() -> None:
    """SPF-11."""
    found = check({"xn--bcher-kva.example": b"v=spf1 +all"}, mail_from="j\u00fcrgen@b\u00fccher.example")

    assert (found.result, found.domain) == (SpfWord.PASS, "xn--bcher-kva.example")


def test_a_local_part_outside_ascii_matches_no_macro() -> None:
    """SPF-11, RFC 8616 section 4."""
    found = check({ORG: b"v=spf1 exists:%{l}.example.org -all"}, mail_from="j\u00fcrgen@example.org")

    assert found.result is SpfWord.FAIL


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        pytest.param("::ffff:192.0.2.1", SpfWord.PASS, id="mapped SPF-13"),
        pytest.param("2001:db8::1", SpfWord.PASS, id="IPv6"),
        pytest.param("2001:db9::1", SpfWord.FAIL, id="another IPv6"),
    ],
)
def test_ipv6_clients(client: str, expected: SpfWord) -> None:
    found = check({ORG: b"v=spf1 ip4:192.0.2.1 ip6:2001:db8::/32 -all"}, client=client)

    assert found.result is expected


def test_the_explanation_is_never_fetched() -> None:
    """T15."""
    found = check({ORG: b"v=spf1 exp=%{i}.spy.example -all"})

    assert found.result is SpfWord.FAIL


def test_macros_make_the_questions() -> None:
    """SPF-08."""
    record = {ORG: b"v=spf1 exists:%{ir}.%{l1r-}.%{d2}._spf.example.net -all"}
    more = answered({"1.2.0.192.ann.example.org._spf.example.net": b"127.0.0.2"}, RecordType.A)

    assert check(record, mail_from="ann-x@example.org", more=more).result is SpfWord.PASS


def missing(texts: Mapping[str, bytes], more: Mapping[Question, Answer] | None = None) -> set[Question]:
    with pytest.raises(Missing) as raised:
        check(texts, more=more)
    return set(raised.value.questions)


def test_the_record_is_the_first_question() -> None:
    question = Question(ORG, RecordType.TXT)

    assert missing({}) == {question} == set(spf_questions(CLIENT, "", "ann@example.org"))


def test_the_addresses_of_all_mail_exchangers_are_asked_for_at_once() -> None:
    mx = answered({ORG: [b"10 a.example", b"20 b.example"]}, RecordType.MX)

    assert missing({ORG: b"v=spf1 mx -all"}, mx) == {
        Question("a.example", RecordType.A),
        Question("b.example", RecordType.A),
    }


def test_mail_exchangers_match_by_their_addresses() -> None:
    mx = answered({ORG: [b"10 a.example", b"0 ."]}, RecordType.MX)
    a = answered({"a.example": b"192.0.2.1"}, RecordType.A)

    assert check({ORG: b"v=spf1 mx -all"}, more=mx | a).result is SpfWord.PASS


def test_more_than_ten_mail_exchangers_are_permerror() -> None:
    """SPF-03."""
    mx = answered({ORG: [b"10 mx%d.example" % number for number in range(11)]}, RecordType.MX)

    found = check({ORG: b"v=spf1 mx -all"}, more=mx)

    assert (found.result, found.reason) == (SpfWord.PERMERROR, "more than 10 MX")


PTR = "1.2.0.192.in-addr.arpa"


@pytest.mark.parametrize(
    ("ptr", "addresses", "expected"),
    [
        pytest.param([b"a.example.org"], {"a.example.org": b"192.0.2.1"}, SpfWord.PASS, id="points back"),
        pytest.param(
            [b"a.example.org"], {"a.example.org": b"192.0.2.9"}, SpfWord.FAIL, id="points elsewhere"
        ),
        pytest.param(Status.TEMPORARY, {}, SpfWord.FAIL, id="trouble at the PTR record"),
        pytest.param(
            [b"a.example.org", b"b.example.org"],
            {"a.example.org": Status.TEMPORARY, "b.example.org": b"192.0.2.1"},
            SpfWord.PASS,
            id="trouble at one name",
        ),
    ],
)
def test_ptr(ptr: list[bytes] | Status, addresses: dict[str, bytes | Status], expected: SpfWord) -> None:
    """RFC 7208 section 5.5: DNS trouble is no match there."""
    more = answered({PTR: ptr}, RecordType.PTR) | answered(addresses, RecordType.A)

    assert check({ORG: b"v=spf1 ptr -all"}, more=more).result is expected


def test_at_most_ten_ptr_names_are_looked_at() -> None:
    """SPF-04."""
    names = [b"h%d.example.org" % number for number in range(11)]
    ptr = answered({PTR: names}, RecordType.PTR)

    asked = missing({ORG: b"v=spf1 ptr -all"}, ptr)

    assert len(asked) == 10
