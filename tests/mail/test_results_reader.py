"""What sealers say: results as the large providers write them, and what is no result."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.mail.authentication import AssertedPass, Method
from appliance.mail.results_reader import asserted_passes, read_arc_results, remote_address

SPF = AssertedPass(Method.SPF, "example.org")
DKIM = AssertedPass(Method.DKIM, "example.org")
DMARC = AssertedPass(Method.DMARC, "example.org")


def passes(results: bytes) -> set[AssertedPass]:
    return set(asserted_passes(read_arc_results(b" i=1; mx.list.example;" + results)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            b" i=1; mx.google.com;\r\n       dkim=pass header.i=@example.org header.s=s1 header.b=Ab+/12==;\r\n"
            b"       spf=pass (google.com: domain of ann@example.org designates 192.0.2.1 as permitted sender)"
            b" smtp.mailfrom=ann@example.org;\r\n       dmarc=pass (p=REJECT sp=REJECT dis=NONE)"
            b" header.from=example.org",
            {SPF, DMARC},
            id="Google, whose header.i is not what was verified",
        ),
        pytest.param(
            b" i=1; mx.microsoft.com 1; spf=pass (sender ip is 192.0.2.1) smtp.rcpttodomain=x.example"
            b" smtp.mailfrom=example.org; dmarc=pass (p=none sp=none pct=100) action=none"
            b" header.from=example.org; dkim=pass (signature was verified) header.d=example.org; arc=pass"
            b" (0 oda=1 ltdi=1 spf=[1,1,smtp.mailfrom=example.org])",
            {SPF, DKIM, DMARC},
            id="Microsoft, with a property that is none",
        ),
        pytest.param(
            b" i=2;mx.example;dkim=pass (2048-bit rsa key) header.d=example.org x-bits=2048;x-tls=pass"
            b" smtp.version=TLSv1.2;iprev=pass smtp.remote-ip=192.0.2.1 (mx.example.org);arc=none (no signatures)",
            {DKIM},
            id="Fastmail, with methods of its own",
        ),
        pytest.param(b" i = 1 ; a ; dmarc = pass header.from = example.org ;", {DMARC}, id="white space"),
        pytest.param(
            b' i=1; "a b"; DMARC/1=Pass reason="all is well" Header.From="Example.ORG."', {DMARC}, id="case"
        ),
        pytest.param(
            b' i=1; a; spf=pass smtp.mailfrom="odd; dmarc=pass header.from=bank.example"@example.org',
            {SPF},
            id="a quoted local part is no result",
        ),
        pytest.param(b" i=1; a; spf=pass smtp.mailfrom=x+y=z@example.org", {SPF}, id="VERP"),
        pytest.param(
            "i=1; a; dmarc=pass header.from=b\u00fccher.example".encode(),
            {AssertedPass(Method.DMARC, "xn--bcher-kva.example")},
            id="U-label",
        ),
        pytest.param(b" i=1; a; none", set(), id="none"),
    ],
)
def test_results_as_they_are_written(value: bytes, expected: set[AssertedPass]) -> None:
    """ARC-09."""
    assert set(asserted_passes(read_arc_results(value))) == expected


@pytest.mark.parametrize(
    "results",
    [
        pytest.param(b"dmarc=pass", id="for nobody"),
        pytest.param(b"dmarc=fail header.from=example.org", id="fail"),
        pytest.param(b"dmarc=bestguesspass header.from=example.org", id="not a result"),
        pytest.param(b"dmarc=pass (header.from=example.org)", id="in a comment"),
        pytest.param(b"(dmarc=pass header.from=example.org)", id="all in a comment"),
        pytest.param(b'"dmarc=pass header.from=example.org"', id="in quotation marks"),
        pytest.param(b'x=y z="; dmarc=pass header.from=example.org"', id="in the quoted value of another"),
        pytest.param(b"x=dmarc=pass header.from=example.org", id="in the value of another"),
        pytest.param(b"spf=pass smtp.helo=example.org", id="HELO"),
        pytest.param(b"dkim=pass header.i=@example.org", id="only an identity"),
        pytest.param(b"dkim=pass header.d=example.org header.d=example.com", id="two domains"),
        pytest.param(b"dmarc/2=pass header.from=example.org", id="another version of the method"),
        pytest.param(b"dmarc=pass header.from=<example.org>", id="angle brackets"),
        pytest.param(b"dmarc=pass header.from=exam ple.org header.from", id="a word too many"),
        pytest.param(b"dmarc pass header.from=example.org", id="no equals sign"),
        pytest.param(b"dmarc=pass header.from=[192.0.2.1]", id="address literal"),
        pytest.param(b"dkim=pass header.d=example.org; dmarc=fail header.from=x.example", id="DMARC failed"),
        pytest.param(b"dkim=pass header.d=example.org; dmarc=fail, header.from=example.org", id="unreadable"),
        pytest.param(b"dmarc=pass header.from=example.org; x=(((", id="not tokens to the end"),
        pytest.param(b"dmarc=pass header.from=example.org" + b"; x=y" * 200, id="too many results"),
        pytest.param(b"dmarc=pass header.from=example.org (" + b"x" * 70_000 + b")", id="too long"),
        pytest.param(b"dmarc=pass header.from=example.org; x=" + b"@:" * 2000, id="too many tokens"),
    ],
)
def test_what_asserts_nothing(results: bytes) -> None:
    """ARC-09, T5, T17."""
    assert passes(results) == set()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"i=1", id="no results"),
        pytest.param(b"mx.example; dmarc=pass header.from=example.org", id="no instance"),
        pytest.param(b"i=1; mx.example 2; dmarc=pass header.from=example.org", id="another version"),
        pytest.param(b"i=1; dmarc=pass header.from=example.org", id="no system"),
        pytest.param(b"i=1; ; dmarc=pass header.from=example.org", id="empty system"),
        pytest.param(b"i=1;;;;" + b"(" * 40, id="nested comments"),
    ],
)
def test_fields_that_are_not_read_at_all(value: bytes) -> None:
    """ARC-09: authres raises on the last ones."""
    assert asserted_passes(read_arc_results(value)) == ()


@pytest.mark.parametrize(
    ("results", "address"),
    [
        pytest.param(b"arc=none smtp.remote-ip=192.0.2.1", "192.0.2.1", id="IPv4"),
        pytest.param(b"arc=none smtp.remote-ip=2001:DB8::1A; dmarc=none", "2001:db8::1a", id="IPv6"),
        pytest.param(b'iprev=pass smtp.remote-ip="2001:db8::1a"', "2001:db8::1a", id="quoted"),
        pytest.param(b"arc=none smtp.remote-ip=mx.example; iprev=pass smtp.remote-ip=::1", "::1", id="next"),
        pytest.param(b"arc=none smtp.remote-ip=fe80::1%<x>", "", id="hostile"),
        pytest.param(b"spf=pass smtp.mailfrom=example.org", "", id="none"),
    ],
)
def test_the_client_of_a_sealer(results: bytes, address: str) -> None:
    """ARC-10."""
    assert remote_address(read_arc_results(b"i=1; a; " + results)) == address


FRAGMENTS = [
    b"i=1",
    b";",
    b"mx.example",
    b"dmarc=pass",
    b"header.from=",
    b"a.example",
    b"(",
    b")",
    b'"',
    b"@",
    b":",
]


@given(
    st.lists(st.sampled_from([*FRAGMENTS, b" ", b"=", b"\\", b"\r\n ", b"\xff", b"<"]), max_size=30).map(
        b"".join
    )
)
def test_any_octets_are_read_or_not_but_never_raise(value: bytes) -> None:
    asserted_passes(read_arc_results(b"i=1;a;" + value))
