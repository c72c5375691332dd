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
        pytest.param(b"v=spf1 \xff -all", "record not printable ASCII", id="not ASCII"),
        pytest.param(b"v=spf1 a:example.net\n -all", "record not printable ASCII", id="line end"),
        pytest.param(b"v=spf1 ?all" + b" " * 8192, "record longer than 8192 octets", id="size T15"),
        pytest.param(b"v=spf1 ip4:192.0.2.0/" + b"1" * 5000, "invalid record", id="endless number"),
        pytest.param(
            b"v=spf1 redirect=a.example redirect=b.example", "redirect= more than once", id="redirects"
        ),
        pytest.param(b"v=spf1 Exp=a.example eXp=b.example -all", "exp= more than once", id="explanations"),
        pytest.param(b"v=spf1 x=%{z} -all", "invalid value of a modifier", id="macro of a modifier SPF-08"),
        pytest.param(b"v=spf1 -exists -all", "invalid record", id="exists without domain"),
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
        pytest.param(b"v=spf1 exists:%{z}.example -all", "invalid domain in a term", id="macro SPF-08"),
        pytest.param(b"v=spf1 exists:%{d0}.example -all", "invalid domain in a term", id="no labels SPF-08"),
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
        pytest.param("a\tb@example.org", "", id="control character in the local part"),
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


# ---- terms that count (SPF-01) and lookups in vain (SPF-02) -----------------------


def a_records(*names: str, address: bytes = b"203.0.113.9") -> dict[Question, Answer]:
    return answered(dict.fromkeys(names, address), RecordType.A)


def test_spf_01_ten_terms_are_allowed_wherever_they_stand() -> None:
    """all, ip4, ip6 and exp don't count."""
    inner = b"v=spf1 ip4:203.0.113.1 " + b"a:h.example " * 4 + b"ip6:2001:db8::1 ?all exp=e.example"
    ten = {ORG: b"v=spf1 include:i.example include:i.example -all", "i.example": inner}
    eleven = {ORG: b"v=spf1 include:i.example include:i.example a:h.example -all", "i.example": inner}

    assert check(ten, more=a_records("h.example")).result is SpfWord.FAIL
    assert check(eleven, more=a_records("h.example")).reason == "more than 10 terms with DNS lookups"


def test_spf_01_a_redirection_counts_when_it_is_followed_and_only_then() -> None:
    """pyspf counts it before it looks at the first mechanism."""
    terms = b"v=spf1 " + b"a:h.example " * 9
    texts = {ORG: terms + b"a:here.example redirect=to.example", "to.example": b"v=spf1 -all"}
    here = a_records("here.example", address=b"192.0.2.1")
    away = a_records("here.example")

    assert check(texts, more=a_records("h.example") | here).result is SpfWord.PASS
    assert check(texts, more=a_records("h.example") | away).reason == "more than 10 terms with DNS lookups"
    assert (
        check({**texts, ORG: terms + b"redirect=to.example"}, more=a_records("h.example")).result
        is SpfWord.FAIL
    )


def test_spf_02_two_lookups_in_vain_are_allowed_over_all_records() -> None:
    nowhere = answered(dict.fromkeys(["0.example", "1.example"], Status.NXDOMAIN), RecordType.A)
    nowhere |= answered({"0.example": Status.NO_DATA}, RecordType.MX)
    texts = {ORG: b"v=spf1 include:i.example a:1.example -all", "i.example": b"v=spf1 a:0.example -all"}

    assert check(texts, more=nowhere).result is SpfWord.FAIL
    assert check(texts | {ORG: texts[ORG].replace(b"-all", b"mx:0.example")}, more=nowhere).reason == (
        "more than 2 void lookups"
    )


def test_spf_02_names_that_can_not_be_in_the_dns_are_no_lookups() -> None:
    """Nor does a name of more than 255 octets raise anything (standards.md section 14)."""
    terms = f"a:{'x' * 64}.example a:a..example a:{'%{l}.' * 2}example exists:{'y' * 100}.org -all"

    found = check({ORG: b"v=spf1 " + terms.encode()}, mail_from=f"{'z' * 64}@example.org")

    assert (found.result, found.reason) == (SpfWord.FAIL, "")


def test_spf_03_ten_mail_exchangers_are_allowed_and_the_first_that_matches_ends_it() -> None:
    """pyspf looks at all of them, and may trip over those behind."""
    mx = answered({ORG: [b"%d h%d.example" % (n, n) for n in range(10)]}, RecordType.MX)
    hosts: dict[str, bytes | Status] = {f"h{n}.example": Status.NXDOMAIN for n in range(10)}
    a = answered(hosts | {"h0.example": b"192.0.2.1"}, RecordType.A)

    assert check({ORG: b"v=spf1 mx -all"}, more=mx | a).result is SpfWord.PASS


# ---- records and modifiers --------------------------------------------------------


@pytest.mark.parametrize(
    ("included", "expected"),
    [
        pytest.param(b"v=spf1 +all", SpfWord.PASS, id="pass"),
        pytest.param(b"v=spf1 -all", SpfWord.SOFTFAIL, id="fail"),
        pytest.param(b"v=spf1 ~all", SpfWord.SOFTFAIL, id="softfail"),
        pytest.param(b"v=spf1 ?all", SpfWord.SOFTFAIL, id="neutral"),
        pytest.param(b"v=spf1 bogus", SpfWord.PERMERROR, id="permerror"),
        pytest.param([b"v=spf1", b"v=spf1"], SpfWord.PERMERROR, id="several records"),
        pytest.param(Status.NO_DATA, SpfWord.PERMERROR, id="none"),
        pytest.param(Status.TEMPORARY, SpfWord.TEMPERROR, id="temperror"),
    ],
)
def test_spf_07_an_include_matches_when_it_passes(
    included: bytes | list[bytes] | Status, expected: SpfWord
) -> None:
    found = check({ORG: b"v=spf1 include:i.example ~all", "i.example": included})

    assert found.result is expected


@pytest.mark.parametrize("target", ["localhost", "a..example", "x" * 64 + ".example"])
def test_spf_09_a_malformed_name_has_no_record_when_a_macro_leads_there(target: str) -> None:
    """Section 4.3; pyspf asks for single labels."""
    record = {ORG: b"v=spf1 include:%{h} -all"}

    assert check(record, helo=target).reason == "include of a domain without record"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(b"v=spf1 ReDirect=to.example", SpfWord.PASS, id="name in capitals"),
        pytest.param(b"v=spf1 x=1 x=2 ip4:192.0.2.1 -all", SpfWord.PASS, id="an unknown one twice"),
        pytest.param(
            b"v=spf1 ip4:192.0.2.1 include:example.org -all", SpfWord.PASS, id="match before itself"
        ),
        pytest.param(b"v=spf1 -all redirect=to.example", SpfWord.FAIL, id="redirect behind all"),
        pytest.param(b"v=spf1 redirect=to.example ip4:192.0.2.1", SpfWord.PASS, id="redirect in front"),
        pytest.param(b"V=SPF1 iP4:192.0.2.1 -aLL", SpfWord.PASS, id="capitals"),
        pytest.param(b"v=spf1   ip4:192.0.2.1    -all  ", SpfWord.PASS, id="blanks"),
    ],
)
def test_readings_of_a_record(record: bytes, expected: SpfWord) -> None:
    """Section 4.6; pyspf reads the first three otherwise."""
    assert check({ORG: record, "to.example": b"v=spf1 +all"}).result is expected


def test_a_postmaster_stands_in_for_an_empty_local_part() -> None:
    """Section 4.3."""
    more = answered({"postmaster.example.org": b"127.0.0.2"}, RecordType.A)

    assert (
        check({ORG: b"v=spf1 exists:%{l}.%{o} -all"}, mail_from="@example.org", more=more).result
        is SpfWord.PASS
    )


def test_a_quoted_local_part_may_hold_an_at_sign_and_goes_into_macros_whole() -> None:
    """pyspf splits the sender at the first at sign (standards.md section 14)."""
    more = answered({"%22a%40b%22.example.org": b"127.0.0.2"}, RecordType.A)

    assert (
        check({ORG: b"v=spf1 exists:%{L}.%{o} -all"}, mail_from='"a@b"@example.org', more=more).result
        is SpfWord.PASS
    )


@pytest.mark.parametrize(
    "term", ["include:%{l}.i.example", "a:%{s}", "exists:%{L}.example", "mx:%{l}", "ptr:%{l}.org"]
)
def test_spf_11_no_mechanism_with_a_local_part_outside_ascii_matches(term: str) -> None:
    """RFC 8616 section 4."""
    found = check({ORG: f"v=spf1 {term} ~all".encode()}, mail_from="j\u00fcrgen@example.org")

    assert (found.result, found.reason) == (SpfWord.SOFTFAIL, "")


@pytest.mark.parametrize("client", ["fe80::1%eth0", "::", "255.255.255.255", "::ffff:0.0.0.0"])
def test_any_client_address_can_be_checked(client: str) -> None:
    """SPF-13; pyspf raises for some (standards.md section 14)."""
    assert check({ORG: b"v=spf1 ip6:fe80::/64 -all"}, client=client).reason == ""


# ---- ptr and the validated name ---------------------------------------------------


def test_ptr_looks_only_at_names_that_could_match() -> None:
    """SPF-04."""
    ptr = answered({PTR: [b"a.example.net", b"b.example.org", b"example.org.net"]}, RecordType.PTR)

    assert missing({ORG: b"v=spf1 ptr -all"}, ptr) == {Question("b.example.org", RecordType.A)}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param([b"x.example", b"m.example.org", b"example.org"], "example.org", id="the domain itself"),
        pytest.param([b"x.example", b"m.example.org"], "m.example.org", id="one below"),
        pytest.param([b"x.example", b"y.example"], "x.example", id="any"),
        pytest.param([b"lies.example"], "unknown", id="none points back"),
        pytest.param([b"broken.example", b"y.example"], "y.example", id="trouble at one"),
        pytest.param(Status.NXDOMAIN, "unknown", id="no names"),
        pytest.param(Status.TEMPORARY, "unknown", id="trouble"),
        pytest.param([b"lies.example"] * 10 + [b"example.org"], "unknown", id="the eleventh SPF-04"),
    ],
)
def test_spf_08_the_validated_name(names: list[bytes] | Status, expected: str) -> None:
    """Section 7.3."""
    good = dict.fromkeys(["x.example", "y.example", "m.example.org", "example.org"], b"192.0.2.1")
    more = answered({PTR: names}, RecordType.PTR)
    more |= answered(
        good | {"lies.example": b"203.0.113.9", "broken.example": Status.TEMPORARY}, RecordType.A
    )
    more |= answered({f"{expected}.p.example": b"127.0.0.2"}, RecordType.A)

    assert check({ORG: b"v=spf1 exists:%{p}.p.example -all"}, more=more).result is SpfWord.PASS


def test_macros_are_expanded_only_when_it_is_their_turn() -> None:
    """T15: pyspf asks for the client's names for a term behind the match, and for an explanation nobody wants."""
    record = b"v=spf1 ip4:192.0.2.1 a:%{p}.example.org -all exp=%{p}.example.org"

    assert check({ORG: record}).result is SpfWord.PASS
    assert (
        check({ORG: record.replace(b"a:%{p}", b"ip4:192.0.2.7 ?all a:%{p}")}, client="192.0.2.9").result
        is SpfWord.NEUTRAL
    )


# ---- records that let nearly everybody pass (T16) ---------------------------------


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param("+all", "spf-wide", id="all"),
        pytest.param("ip4:192.0.0.0/8 -all", "spf-wide", id="a network of 8 bits"),
        pytest.param("ip4:192.0.0.0/9 -all", "", id="a network of 9 bits"),
        pytest.param("ip4:192.0.2.1 +all", "", id="a narrow match before"),
        pytest.param("a/0 -all", "spf-wide", id="any address"),
        pytest.param("include:wide.example -all", "spf-wide", id="included"),
        pytest.param("redirect=wide.example", "spf-wide", id="redirected"),
        pytest.param("?include:wide.example ip4:192.0.2.1", "", id="neutral, not a pass"),
        pytest.param("include:not.example ip4:192.0.2.1 -all", "", id="no match in the include"),
    ],
)
def test_t16_a_pass_that_nearly_anybody_would_get_is_marked(record: str, reason: str) -> None:
    """The result is the RFC's all the same."""
    texts = {ORG: f"v=spf1 {record}".encode(), "wide.example": b"v=spf1 +all", "not.example": b"v=spf1 -all"}

    found = check(texts, more=a_records(ORG))

    assert found.reason == reason
    assert (found.result is SpfWord.PASS) or record.startswith("?")


@pytest.mark.parametrize(("prefix", "reason"), [(16, "spf-wide"), (17, "")])
def test_t16_an_ipv6_network_is_wide_up_to_16_bits(prefix: int, reason: str) -> None:
    found = check({ORG: f"v=spf1 ip6:2001::/{prefix} -all".encode()}, client="2001:db8::1")

    assert found == SpfResult(SpfWord.PASS, ORG, reason=reason)
