"""Forgeries that Postfix refuses or changes before the filter sees them, judged as they are: another MTA may let them by."""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.cli.verify import answer_line
from appliance.lab.nameserver import NameServer
from appliance.lab.samples import SigningKey
from tests.checks import mails

ATTACKER = "198.51.100.66"
FROM = b"From: admin@legit.test\r\n"
REJECTED = {"dmarc": "fail", "disposition": "reject", "spf_aligned": "fail", "dkim_aligned": "fail"}
UNUSABLE = {"dmarc": "permerror", "disposition": "none", "author_domain": None}


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey()


@pytest.fixture(scope="module")
def nameserver(key: SigningKey) -> Iterator[NameServer]:
    with NameServer() as running:
        zone = running.zone
        for name in ("att.test", "any.att.test", "a.att.test", "helo.att.test"):
            zone.txt(name, f"v=spf1 ip4:{ATTACKER} -all")
            zone.txt(f"s._domainkey.{name}", key.record)
        zone.txt("legit.test", "v=spf1 -all")
        zone.txt("_dmarc.legit.test", "v=DMARC1; p=reject")
        yield running


def verify(nameserver: NameServer, octets: bytes, **values: str) -> dict[str, Any]:
    line = {
        "id": 1,
        "op": "verify",
        "ip": ATTACKER,
        "helo": "helo.att.test",
        "mail_from": "any@att.test",
        "message_b64": base64.b64encode(octets).decode(),
        "dns": nameserver.address,
        "dns_timeout": 2,
    }
    return asyncio.run(answer_line(json.dumps(line | values).encode(), ""))


@pytest.mark.parametrize(
    ("values", "spf"),
    [
        pytest.param({"mail_from": "any@nowhere.legit.test"}, "none", id="A1 subdomain that does not exist"),
        pytest.param({"mail_from": "(any@legit.test"}, "none", id="A2 parenthesis first"),
        pytest.param({"mail_from": "legit.test(a.att.test"}, "none", id="A5 no at sign"),
        pytest.param({"mail_from": "any@legit.test(a.att.test"}, "none", id="A5 parenthesis in the domain"),
        pytest.param({"mail_from": "any@legit.test'@any.att.test"}, "none", id="A6 two at signs"),
        pytest.param({"mail_from": "@legit.test,@any.att.test:'any@att.test"}, "none", id="A7 route"),
        pytest.param({"mail_from": "any@legit.test\0.att.test"}, "none", id="NUL"),
        pytest.param({"mail_from": "any@legit.test;.att.test"}, "none", id="semicolon"),
        pytest.param({"mail_from": '"any@att.test"@legit.test'}, "fail", id="quoted at sign"),
        pytest.param({"mail_from": "any@LEGIT.test."}, "fail", id="case and trailing dot"),
        pytest.param({"mail_from": "", "helo": "a@b;dmarc=pass"}, "none", id="HELO that is no name"),
        pytest.param({"mail_from": "", "helo": "legit.test\0.att.test"}, "none", id="NUL in HELO"),
        pytest.param({"mail_from": "", "helo": "[198.51.100.66]"}, "none", id="SPF-10 HELO literal"),
        pytest.param({"mail_from": "any@att.test"}, "pass", id="a pass that does not align"),
    ],
)
def test_t6_no_shape_of_the_envelope_makes_a_forgery_pass(
    nameserver: NameServer, values: dict[str, str], spf: str
) -> None:
    """A1 to A7, ALN-01, SPF-09."""
    answer = verify(nameserver, FROM + b"\r\nHello\r\n", **values)

    assert answer["error"] is None
    assert (answer["spf"], {name: answer[name] for name in REJECTED}) == (spf, REJECTED)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        pytest.param(b"s", b"s._domainkey.att.test.\0.x", id="A3 NUL in s="),
        pytest.param(b"s", b"s._domainkey.att.test.", id="A3 cut at the NUL"),
        pytest.param(b"s", b"s\t._domainkey.att.test", id="A3 tab"),
        pytest.param(b"d", b"legit.test'a.att.test", id="A4 quote in d="),
        pytest.param(b"d", b"legit.test(.att.test", id="A4 parenthesis in d="),
        pytest.param(b"d", b"legit.test\0.att.test", id="A4 NUL in d="),
        pytest.param(b"d", b"legit.test;.att.test", id="A4 semicolon in d="),
    ],
)
def test_dkim_18_no_shape_of_a_signature_makes_a_forgery_pass(
    nameserver: NameServer, key: SigningKey, tag: bytes, value: bytes
) -> None:
    """T13: the attacker's own key is published where a careless verifier would look."""
    nameserver.zone.txt("s._domainkey.att.test._domainkey.legit.test", key.record)
    signing = mails.SigningKey(key.pem, key.record.encode())
    octets = mails.signed(
        signing, FROM + b"\r\nHello\r\n", domain="legit.test", selector="s", names=("from",)
    )
    original = {b"s": b" s=s;", b"d": b" d=legit.test;"}[tag]
    assert original in octets

    answer = verify(nameserver, octets.replace(original, b" " + tag + b"=" + value + b";", 1))

    assert answer["error"] is None
    assert answer["dmarc"] == (
        "permerror" if b"\0" in value else "fail"
    )  # FROM-13: a NUL makes the header unusable
    assert (answer["spf_aligned"], answer["dkim_aligned"]) == ("fail", "fail")
    assert [signature["result"] for signature in answer["dkim"]] in (["permerror"], ["neutral"])


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"From: admin@legit.test\0.att.test\r\n\r\n", id="NUL in From"),
        pytest.param(b"From: a@att.test\r\nX: a\0\r\nY: b\r\n\r\n", id="NUL in another field"),
        pytest.param(b" From: a@att.test\r\nFrom: b@legit.test\r\n\r\n", id="A9"),
        pytest.param(b"From\r\n : a@att.test\r\nFrom: b@legit.test\r\n\r\n", id="A11"),
        pytest.param(b"From : a@att.test\r\nFrom: b@legit.test\r\n\r\n", id="A10"),
        pytest.param(b"From: a@att.test\rFrom: b@legit.test\r\n\r\n", id="bare CR"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_from_13_no_shape_of_the_header_hides_a_from(nameserver: NameServer, octets: bytes) -> None:
    """T1, T3, FROM-02."""
    answer = verify(nameserver, octets)

    assert answer["error"] is None
    assert {name: answer[name] for name in UNUSABLE} == UNUSABLE


def test_t18_a_from_of_more_than_a_hundred_labels_costs_eight_questions(nameserver: NameServer) -> None:
    """DISC-17."""
    author = ".".join(["a"] * 110) + ".legit.test"
    nameserver.forget_queries()

    answer = verify(nameserver, f"From: x@{author}\r\n\r\n".encode())

    walk = [query.name for query in nameserver.queries if query.name.startswith("_dmarc.")]
    assert (answer["dmarc"], answer["policy_domain"], answer["org_domain"]) == (
        "fail",
        "legit.test",
        "legit.test",
    )
    assert len(walk) == 8


def test_t15_no_message_costs_more_than_forty_questions(nameserver: NameServer, key: SigningKey) -> None:
    """An SPF record, ten signatures and a chain that would each take all there is."""
    zone = nameserver.zone
    zone.txt("greedy.test", "v=spf1 " + " ".join(f"mx:m{n}.greedy.test" for n in range(9)) + " -all")
    for n in range(9):
        zone.mx(f"m{n}.greedy.test", *(f"h{n}-{m}.greedy.test" for m in range(10)))
        for m in range(10):
            zone.a(f"h{n}-{m}.greedy.test", "192.0.2.7")
    signing = mails.SigningKey(key.pem, key.record.encode())
    octets = b"From: a@" + b".".join([b"a"] * 20) + b".greedy.test\r\nSubject: x\r\n\r\nHello\r\n"
    for n in range(12):
        octets = mails.signed(signing, octets, domain=f"d{n}.test", selector="s", names=("from",))
    for n in range(6):
        zone.txt(f"arc._domainkey.list{n}.test", key.record)
        octets = mails.sealed(signing, octets, chain="none" if n == 0 else "pass", domain=f"list{n}.test")
    nameserver.forget_queries()

    answer = verify(nameserver, octets, mail_from="a@greedy.test")

    assert answer["error"] is None
    assert answer["spf"] == "temperror"
    asked = {(query.name, query.type) for query in nameserver.queries}
    assert 30 < len(asked) <= 40
