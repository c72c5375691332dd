"""Our Authentication-Results field, the forged ones, the X-header: AR-01 to AR-13, S30, T5, T7."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import ip_address

import authres
import pytest
from authres import arc, dkim_b, dmarc
from hypothesis import given
from hypothesis import strategies as st

from appliance.dmarc.discovery import Found
from appliance.dmarc.evaluation import DmarcWord, Evaluation
from appliance.dmarc.record import Policy, parse_record
from appliance.mail.authentication import (
    ArcResult,
    ArcWord,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
    SpfWord,
)
from appliance.mail.message import Message
from appliance.mail.results_header import (
    MAX_DKIM_RESULTS,
    forged_results,
    overall_word,
    read_authserv_id,
    write,
    x_header_value,
)

MessageOf = Callable[..., Message]

CLIENT = ip_address("192.0.2.7")
UNSIGNED = Authentication(SpfResult(SpfWord.NONE, ""), (), ArcResult(ArcWord.NONE))
SIGNATURE = DkimResult(
    DkimWord.FAIL, "example.com", "s1", "@example.com", "rsa-sha256", "Ab12Cd34", reason="body hash"
)


def evaluation(result: str, domain: str = "example.com", tags: str = "p=reject") -> Evaluation:
    record = parse_record(f"v=DMARC1; {tags}".encode())
    assert record is not None
    published = Found("example.com", record) if result in {"pass", "fail"} else None
    return Evaluation(domain, DmarcWord(result), published, record.p if published else None)


def unfolded(value: bytes) -> str:
    return value.decode("ascii").replace("\r\n", "")


# A reader of its own, by the grammar of RFC 8601 section 2.2

TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+"
QUOTED = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
COMMENT = r"\((?:[ !#-'*-\[\]-~])*\)"
PVALUE = rf"(?:(?:{TOKEN})?@{TOKEN}|{TOKEN}|{QUOTED})"
RESINFO = re.compile(
    rf" +(?P<method>[a-z]+)=(?P<result>[a-z]+)(?: +{COMMENT})?(?P<properties>(?: +[a-z]+\.[a-z-]+={PVALUE})*)"
)
FIELD = re.compile(rf" (?P<id>{TOKEN}|{QUOTED});(?P<results>.*)", re.DOTALL)


@dataclass(frozen=True)
class Read:
    authserv_id: str
    results: list[tuple[str, str, dict[str, str]]]


def read(value: bytes) -> Read:
    """Strictly: any octet outside the grammar fails the test."""
    assert all(len(line) <= 998 for line in value.split(b"\r\n"))
    field = FIELD.fullmatch(unfolded(value))
    assert field, value
    results, at, text = [], 0, field["results"]
    while True:
        found = RESINFO.match(text, at)
        assert found, text[at:]
        properties = re.findall(rf"([a-z]+\.[a-z-]+)=({PVALUE})", found["properties"])
        results.append((found["method"], found["result"], dict(properties)))
        if found.end() == len(text):
            return Read(field["id"], results)
        assert text[found.end()] == ";", text[found.end() :]
        at = found.end() + 1


AUTHRES = authres.FeatureContext(dkim_b, dmarc, arc)


def read_by_authres(value: bytes) -> list[tuple[str, str]]:
    header = AUTHRES.parse(f"Authentication-Results:{unfolded(value)}")
    return [(result.method, result.result) for result in header.results]


# The writer


def test_ar_01_the_golden_field() -> None:
    authentication = Authentication(
        SpfResult(SpfWord.PASS, "lists.example.net"), (SIGNATURE,), ArcResult(ArcWord.NONE)
    )

    value = write(
        "example.org", authentication, [evaluation("fail")], client_ip=CLIENT, dispositions=["quarantine"]
    )

    assert value.decode().split("\r\n") == [
        " example.org;",
        " spf=pass smtp.mailfrom=lists.example.net;",
        " dkim=fail (body hash) header.d=example.com header.i=@example.com header.s=s1",
        "  header.a=rsa-sha256 header.b=Ab12Cd34;",
        " arc=none smtp.remote-ip=192.0.2.7;",
        " dmarc=fail (p=reject dis=quarantine) header.from=example.com",
        "  policy.dmarc=reject",
    ]


def test_a_plain_message_has_one_result_for_each_mechanism() -> None:
    value = write("example.org", UNSIGNED, [evaluation("none")])

    assert (
        unfolded(value) == " example.org; spf=none; dkim=none; arc=none; dmarc=none header.from=example.com"
    )


def test_ar_08_the_helo_name_is_named_where_it_was_checked() -> None:
    spf = SpfResult(SpfWord.PASS, "mx.example.net", SpfScope.HELO)

    value = write("example.org", Authentication(spf, (), ArcResult(ArcWord.NONE)), [evaluation("none")])

    assert read(value).results[0] == ("spf", "pass", {"smtp.helo": "mx.example.net"})


def test_ar_09_every_signature_has_its_result() -> None:
    second = DkimResult(DkimWord.PASS, "example.net", "s.two", "", "ed25519-sha256", "a/b+c=")
    authentication = Authentication(UNSIGNED.spf, (SIGNATURE, second), UNSIGNED.arc)

    results = read(write("example.org", authentication, [evaluation("none")])).results

    assert [(word, properties["header.d"]) for method, word, properties in results if method == "dkim"] == [
        ("fail", "example.com"),
        ("pass", "example.net"),
    ]
    assert results[2][2]["header.b"] == '"a/b+c="'


def test_t11_a_flood_of_signatures_is_cut_and_passes_are_kept() -> None:
    flood = (SIGNATURE,) * 2000 + (DkimResult(DkimWord.PASS, "example.com", "s"),)

    value = write("example.org", Authentication(UNSIGNED.spf, flood, UNSIGNED.arc), [evaluation("none")])

    words = [word for method, word, _ in read(value).results if method == "dkim"]
    assert len(words) == MAX_DKIM_RESULTS
    assert "pass" in words


def test_arc_08_the_chain_and_the_client_are_named() -> None:
    authentication = Authentication(UNSIGNED.spf, (), ArcResult(ArcWord.PASS, oldest_pass=0))

    value = write("example.org", authentication, [evaluation("none")], client_ip=ip_address("2001:db8::1"))

    expected = {"header.oldest-pass": "0", "smtp.remote-ip": '"2001:db8::1"'}
    assert read(value).results[2] == ("arc", "pass", expected)


@pytest.mark.parametrize(
    ("result", "tags", "disposition", "expected"),
    [
        pytest.param("pass", "p=reject", "none", "dmarc=pass (p=reject dis=none)", id="pass"),
        pytest.param(
            "fail", "p=reject; t=y", "quarantine", "dmarc=fail (p=reject t=y dis=quarantine)", id="t=y"
        ),
        pytest.param("fail", "p=none", "", "dmarc=fail (p=none)", id="no disposition"),
        pytest.param("none", "", "", "dmarc=none", id="none"),
        pytest.param("temperror", "", "none", "dmarc=temperror (dis=none)", id="temperror"),
    ],
)
def test_ar_10_dmarc_says_policy_and_disposition(
    result: str, tags: str, disposition: str, expected: str
) -> None:
    value = write("example.org", UNSIGNED, [evaluation(result, tags=tags)], dispositions=[disposition])

    assert f"; {expected} header.from=example.com" in unfolded(value)


def test_ar_10_the_policy_is_the_one_after_t_y() -> None:
    value = write("example.org", UNSIGNED, [evaluation("fail", tags="p=reject; t=y")])

    assert read(value).results[-1][2]["policy.dmarc"] == "quarantine"


def test_the_reason_of_an_evaluation_stands_in_the_comment() -> None:
    trouble = Evaluation("example.com", DmarcWord.TEMPERROR, reason="policy discovery: timeout")

    value = write("example.org", UNSIGNED, [trouble])

    assert "dmarc=temperror (policy discovery: timeout) header.from" in unfolded(value)


@pytest.mark.parametrize("results", [["pass", "pass"], ["pass", "none"], ["none", "none"], ["pass", "fail"]])
def test_from_05_several_author_domains_never_pass(results: list[str]) -> None:
    evaluations = [evaluation(word, f"d{number}.example") for number, word in enumerate(results)]

    written = [word for method, word, _ in read(write("example.org", UNSIGNED, evaluations)).results[3:]]

    assert written == ["fail" if word == "fail" else "permerror" for word in results]
    assert overall_word(evaluations) == ("fail" if "fail" in results else "permerror")


def test_from_05_an_incomplete_list_says_so() -> None:
    value = write("example.org", UNSIGNED, [evaluation("pass")], incomplete=True)

    assert "dmarc=permerror (p=reject several author domains, incomplete)" in unfolded(value)


def test_from_03_an_unusable_from_is_permerror() -> None:
    value = write("example.org", UNSIGNED, [], unusable="several From fields")

    assert unfolded(value).endswith("; dmarc=permerror (several From fields)")


def test_checks_that_could_not_be_run_are_temperror() -> None:
    assert unfolded(write("example.org", None, [])) == " example.org; dmarc=temperror"


@pytest.mark.parametrize(
    ("authserv_id", "written"),
    [
        pytest.param("example.org", "example.org", id="domain"),
        pytest.param("mx_1.example.org", "mx_1.example.org", id="token"),
        pytest.param("example.org/1", '"example.org/1"', id="AR-02 slash"),
        pytest.param('a "b" \\', '"a \\"b\\" \\\\"', id="quotation marks"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="U-label"),
    ],
)
def test_ar_02_the_authserv_id_is_quoted_where_it_is_no_token(authserv_id: str, written: str) -> None:
    value = write(authserv_id, None, [])

    assert value.startswith(f" {written};".encode())
    assert forged_results_of(value, authserv_id)


@pytest.mark.parametrize("authserv_id", ["a\r\nb", "", "a\0", "ü ü"])
def test_ar_02_an_authserv_id_that_cannot_be_written_is_refused(authserv_id: str) -> None:
    with pytest.raises(ValueError):
        write(authserv_id, None, [])


HOSTILE = [
    "dmarc=pass",
    "a@b;dmarc=pass",
    "x; dmarc=pass header.from=example.com",
    "x\r\nAuthentication-Results: example.org; dmarc=pass",
    "x\r\n dmarc=pass",
    "x\ny",
    "x\ry",
    "x\0y",
    "x\x7fy",
    "x\ty",
    " x",
    "x ",
    "x y",
    '"x',
    'x"; dmarc=pass',
    "x\\",
    "x(",
    "x)",
    "x(; dmarc=pass)",
    ") dmarc=pass (",
    "x/y",
    "x=y",
    "x?y",
    "x,y",
    "x:y",
    "<x>",
    "[192.0.2.1]",
    "x]",
    "x;",
    ";x",
    ";;",
    "x..y",
    ".x",
    "-x",
    "x-",
    "x.-y",
    "example.net(.example.com",  # CVE-2020-12272
    "legit.test'@any.att.test",  # espoofer A6
    "any@legit.test'@any.att.test",
    "(any@legit.test",  # A2
    "legit.test(a.att.test",  # A5
    "@x,@y:z@legit.test",  # A7
    "sel._domainkey.att.test.\0.legit.test",  # A3
    'legit.test".att.test',  # A4
    "legit.test\\.att.test",
    "x" * 64 + ".test",
    "x." * 200,
    "é",
    "é.test; dmarc=pass",
    "\udcff",
    "\u2028x",
    "\u0130.test",
    "x\u037e dmarc=pass",
    "ⅹ；dmarc=pass",
    "=?utf-8?q?x?=",
    "%0d%0adkim=pass",
    "${x}",
    "x'--",
    "a@",
    "@",
    "@@",
    "a@b@c",
    '"a@b"@c.test',
    '"a;dmarc=pass"@c.test',
    "a b@c.test",
    "a@c.test;",
    "x" * 5000,
]


def everything(text: str) -> tuple[Authentication, Evaluation]:
    """*text* in every place that could come from a message or the DNS."""
    authentication = Authentication(
        SpfResult(SpfWord.FAIL, text, SpfScope.MAIL_FROM, text),
        (
            DkimResult(DkimWord.FAIL, text, text, text, text, text, text),
            DkimResult(DkimWord.FAIL, "example.net", "s", f"{text}@example.net"),
            DkimResult(DkimWord.FAIL, "example.net", "s", f"a@{text}"),
        ),
        ArcResult(ArcWord.FAIL, (), 1, text),
    )
    return authentication, Evaluation(text, DmarcWord.NONE, policy=Policy.NONE, reason=text)


OURS = [
    ("spf", "fail"),
    ("dkim", "fail"),
    ("dkim", "fail"),
    ("dkim", "fail"),
    ("arc", "fail"),
    ("dmarc", "none"),
]
REGISTERED = {
    "spf": {"smtp.mailfrom"},
    "dkim": {"header.d", "header.i", "header.s", "header.a", "header.b"},
    "arc": {"header.oldest-pass", "smtp.remote-ip"},
    "dmarc": {"header.from", "policy.dmarc"},
}


RESULTS = {
    "spf": {"none", "pass", "fail", "softfail", "neutral", "policy", "temperror", "permerror"},
    "dkim": {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"},
    "arc": {"none", "pass", "fail"},
    "dmarc": {"none", "pass", "fail", "temperror", "permerror"},
}


@pytest.mark.parametrize("word", sorted({*SpfWord, *DkimWord, *ArcWord, *DmarcWord}))
def test_ar_03_methods_results_and_properties_are_registered(word: str) -> None:
    """IANA's Email Authentication Methods and Result Names: every word that a check can come to."""
    spf = SpfResult(SpfWord(word), "example.com") if word in set(SpfWord) else UNSIGNED.spf
    dkim = (replace(SIGNATURE, result=DkimWord(word)),) if word in set(DkimWord) else ()
    chain = ArcResult(ArcWord(word)) if word in set(ArcWord) else UNSIGNED.arc
    evaluated = [evaluation(word)] if word in set(DmarcWord) else []

    found = read(write("example.org", Authentication(spf, dkim, chain), evaluated, client_ip=CLIENT)).results

    assert word in {result for _, result, _ in found}
    for method, result, properties in found:
        assert result in RESULTS[method]
        assert set(properties) <= REGISTERED[method]


def check_hostile(text: str) -> None:
    authentication, evaluated = everything(text)

    value = write("example.org", authentication, [evaluated], client_ip=CLIENT)

    found = read(value)
    assert found.authserv_id == "example.org"
    assert [(method, word) for method, word, _ in found.results] == OURS == read_by_authres(value)
    for method, _, properties in found.results:
        assert set(properties) <= REGISTERED[method]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_t5_no_hostile_text_becomes_a_result(text: str) -> None:
    """AR-01, AR-11: read back by the grammar, octet by octet."""
    check_hostile(text)


@given(text=st.text(max_size=60) | st.text(alphabet='ab.@;=()"\\ \r\n\t/,:é', max_size=30))
def test_t5_no_text_at_all_becomes_a_result(text: str) -> None:
    check_hostile(text)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_t5_no_hostile_text_changes_the_x_header(text: str) -> None:
    _, evaluated = everything(text)

    value = unfolded(x_header_value([evaluated], action="deliver"))

    assert re.fullmatch(r" none \((p=none; )?action=deliver(; from=[a-z0-9_.-]+)?\)", value)


@pytest.mark.parametrize(
    ("identity", "written"),
    [
        pytest.param("@example.com", "@example.com", id="domain"),
        pytest.param("a.b+c_d-e@Example.com", "a.b+c_d-e@example.com", id="address"),
        pytest.param("a=b@example.com", None, id="equals sign"),
        pytest.param("a..b@example.com", None, id="two dots"),
        pytest.param("a" * 65 + "@example.com", None, id="long local part"),
        pytest.param("a@b@example.com", None, id="two at signs"),
        pytest.param("", None, id="none"),
    ],
)
def test_ar_11_an_identity_is_written_when_it_is_plain(identity: str, written: str | None) -> None:
    signature = DkimResult(DkimWord.PASS, "example.com", "s", identity)
    authentication = Authentication(UNSIGNED.spf, (signature,), UNSIGNED.arc)

    properties = read(write("example.org", authentication, [evaluation("none")])).results[1][2]

    assert properties.get("header.i") == written


def test_ar_12_lines_are_folded_in_time() -> None:
    label = "a" * 20
    signature = DkimResult(
        DkimWord.PASS, f"{label}.{label}.example", label, f"@{label}.example", "rsa-sha256", "Ab"
    )
    authentication = Authentication(UNSIGNED.spf, (signature,) * 3, UNSIGNED.arc)

    value = write("example.org", authentication, [evaluation("pass", f"{label}.{label}.example")])

    assert max(len(line) for line in value.split(b"\r\n")) <= 78


# Forged fields


def forged_results_of(value: bytes, authserv_id: str = "example.org") -> bool:
    return read_authserv_id(value) in {None, read_authserv_id(write(authserv_id, None, []))}


@pytest.mark.parametrize(
    ("value", "forged"),
    [
        pytest.param(b" example.org; dmarc=pass", True, id="ours"),
        pytest.param(b"example.org;dmarc=pass", True, id="no white space"),
        pytest.param(b" EXAMPLE.Org; dmarc=pass", True, id="case"),
        pytest.param(b" example.org.; dmarc=pass", True, id="trailing dot"),
        pytest.param(b' "example.org"; dmarc=pass', True, id="quoted"),
        pytest.param(b' "ex\\ample.org"; dmarc=pass', True, id="quoted pair"),
        pytest.param(b" (a (b)) example.org (c); dmarc=pass", True, id="comments"),
        pytest.param(b"\r\n example.org\r\n ; dmarc=pass", True, id="folded"),
        pytest.param(b" example.org 1; dmarc=pass", True, id="version"),
        pytest.param(b" example.org (c) 1 (d); dmarc=pass", True, id="version and comments"),
        pytest.param(b" example.org; none", True, id="no result"),
        pytest.param(b" example.org", True, id="nothing else"),
        pytest.param("ｅxample.org; dmarc=pass".encode(), True, id="full-width letter"),
        pytest.param(b" other.example; dmarc=pass", False, id="another's"),
        pytest.param(b" other.example 1; dmarc=pass", False, id="another's with a version"),
        pytest.param(b" mx.example.org; dmarc=pass", False, id="a host below"),
        pytest.param(b" example.org.evil.test; dmarc=pass", False, id="as a prefix"),
        pytest.param(b" other.example; dmarc=pass (example.org)", False, id="ours in a comment"),
        pytest.param(b" other.example; dmarc=pass (open", False, id="broken behind the authserv-id"),
        pytest.param("bücher.example; dmarc=pass".encode(), False, id="another's U-label"),
        pytest.param(b" other.example 2; dmarc=pass", True, id="AR-05 unsupported version"),
        pytest.param(b" other.example 1 1; dmarc=pass", True, id="two versions"),
        pytest.param(b" other.example x; dmarc=pass", True, id="version that is no number"),
        pytest.param(b" other.example/1; dmarc=pass", True, id="AR-06 slash without quotes"),
        pytest.param(b" spf=pass smtp.mailfrom=a.test; dkim=pass", True, id="AR-06 no authserv-id"),
        pytest.param(b"", True, id="empty"),
        pytest.param(b" ; dmarc=pass", True, id="empty authserv-id"),
        pytest.param(b' ""; dmarc=pass', True, id="empty quoted authserv-id"),
        pytest.param(b" (open example.org; dmarc=pass", True, id="comment without its end"),
        pytest.param(b' "example.org; dmarc=pass', True, id="quoted string without its end"),
        pytest.param(b" exam\0ple.org; dmarc=pass", True, id="NUL"),
        pytest.param(b" \xff.example; dmarc=pass", True, id="not UTF-8"),
        pytest.param(b" example(x).org; dmarc=pass", True, id="comment inside"),
        pytest.param(b" <example.org>; dmarc=pass", True, id="angles"),
        pytest.param(b" a@example.org; dmarc=pass", True, id="address"),
    ],
)
def test_ar_05_ours_and_unreadable_fields_are_forged(
    value: bytes, forged: bool, message_of: MessageOf
) -> None:
    message = message_of((b"Authentication-Results", value))

    assert forged_results(message, "example.org") == ((0,) if forged else ())


def test_ar_05_our_name_may_be_written_in_u_labels(message_of: MessageOf) -> None:
    message = message_of(
        (b"Authentication-Results", "BÜCHER.example; dmarc=pass".encode()),
        (b"Authentication-Results", b"xn--bcher-kva.example; dmarc=pass"),
    )

    assert forged_results(message, "bücher.example") == (0, 1)
    assert forged_results(message, "xn--bcher-kva.example") == (0, 1)


def test_t7_forged_fields_are_found_among_others(message_of: MessageOf) -> None:
    """CVE-2022-48521: deleted in forward order, some survived; so all places are told, in order."""
    ours, theirs = b" example.org; dmarc=pass", b" other.example; dmarc=pass"
    message = message_of(
        (b"Received", b" x"),
        (b"Authentication-Results", ours),
        (b"authentication-results", theirs),
        (b"AUTHENTICATION-RESULTS ", ours),
        (b"X-Authentication-Results", ours),
        (b"ARC-Authentication-Results", b" i=1;" + ours),
        (b"Authentication-Results", theirs),
        (b"Authentication-Results", ours),
        *[(b"Authentication-Results", ours)] * 1000,
    )

    assert forged_results(message, "example.org") == (1, 3, *range(7, 1008))


@given(value=st.binary(max_size=80))
def test_any_field_is_read_or_forged(value: bytes) -> None:
    assert read_authserv_id(value) is None or read_authserv_id(value)


# The X-header


@pytest.mark.parametrize(
    ("evaluations", "expected"),
    [
        pytest.param([evaluation("fail")], "fail (p=reject; action=x; from=example.com)", id="fail"),
        pytest.param([evaluation("pass")], "pass (p=reject; action=x; from=example.com)", id="pass"),
        pytest.param([evaluation("none")], "none (action=x; from=example.com)", id="none"),
        pytest.param([evaluation("temperror")], "temperror (action=x; from=example.com)", id="temperror"),
        pytest.param(
            [evaluation("fail", "a.test", "p=quarantine"), evaluation("pass", "b.test", "p=reject")],
            "fail (p=quarantine; action=x; from=a.test; from=b.test)",
            id="FROM-05 one of several fails",
        ),
        pytest.param(
            [evaluation("pass", "a.test", "p=none"), evaluation("none", "b.test")],
            "permerror (p=none; action=x; from=a.test; from=b.test)",
            id="FROM-05 none of several fails",
        ),
        pytest.param([], "temperror (action=x)", id="not checked"),
    ],
)
def test_s30_the_x_header_begins_with_the_result(evaluations: list[Evaluation], expected: str) -> None:
    assert unfolded(x_header_value(evaluations, action="x")) == f" {expected}"


def test_s30_an_unusable_from_is_permerror() -> None:
    value = x_header_value([], action="quarantine", unusable="no From field")

    assert value == b" permerror (no From field; action=quarantine)"


def test_s30_a_long_x_header_is_folded() -> None:
    several = [evaluation("fail", f"{'a' * 40}{number}.example") for number in range(5)]

    value = x_header_value(several, action="reject", incomplete=True)

    assert value.startswith(b" fail (p=reject; action=reject; incomplete;")
    assert max(len(line) for line in value.split(b"\r\n")) <= 78
