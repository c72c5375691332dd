"""Messages made to cost time: they come to their result, within what the caps allow."""

import base64
import hashlib
from collections import Counter

import pytest

from appliance.checks.answers import Answers
from appliance.checks.arc import ArcCheck
from appliance.checks.canonical import CanonicalMessage
from appliance.checks.dkim import DkimCheck
from appliance.checks.options import CheckOptions
from appliance.mail.authentication import ArcResult, ArcWord, DkimResult, DkimWord
from appliance.mail.message import HeaderField, Message
from tests.checks.mails import NOW, PLAIN, SigningKey, answered, received

pytestmark = pytest.mark.timeout(60)

KEY = "s1._domainkey.example.org"
EMPTY_BODY = base64.b64encode(hashlib.sha256(b"").digest()).decode()
FROM = HeaderField(b"From", b" ann@example.org")


def message(fields: list[HeaderField], body: bytes = b"") -> Message:
    return Message(received(PLAIN).envelope, tuple(fields), body)


def signature(
    *, c: str = "relaxed/relaxed", h: str = "from", bh: str = EMPTY_BODY, length: str = ""
) -> HeaderField:
    tags = f" v=1; a=rsa-sha256; c={c}; d=example.org; s=s1; {length}h={h}; bh={bh}; b=AAAA"
    return HeaderField(b"DKIM-Signature", tags.encode())


def check(mail: Message, record: bytes) -> tuple[DkimResult, ...]:
    dkim_check = DkimCheck(CanonicalMessage(mail), ("example.org",), NOW, CheckOptions())
    return dkim_check.results(Answers(answered({KEY: record})))


def count(results: tuple[DkimResult, ...]) -> Counter[tuple[DkimWord, str]]:
    return Counter((result.result, result.reason) for result in results)


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(b"two  spaces \t and more\r\n", id="text"),
        pytest.param(b" ", id="spaces"),
        pytest.param(b"\t ", id="tabs and spaces"),
        pytest.param(b" \r\n", id="white lines"),
        pytest.param(b"\r\n", id="empty lines"),
        pytest.param(b"\r\r\n", id="odd line ends"),
    ],
)
def test_t11_ten_megabytes_under_ten_signatures_of_every_form_and_length(
    rsa_key: SigningKey, piece: bytes
) -> None:
    forms = ("relaxed/relaxed", "simple/simple", "relaxed/simple", "simple/relaxed")
    fields = [signature(c=forms[n % 4], length=f"l={n * 100_000}; " if n > 3 else "") for n in range(10)]

    results = check(message([*fields, FROM], piece * (10_000_000 // len(piece))), rsa_key.record)

    assert len(results) == 10
    assert not {result.result for result in results} & {DkimWord.PASS, DkimWord.NEUTRAL}


def test_t11_ten_thousand_names_in_h(rsa_key: SigningKey) -> None:
    names = "from" + "".join(f":x{number}" for number in range(10_000))
    fields = [signature(h=f"{names}:y{number}") for number in range(10)]

    results = check(message([*fields, FROM]), rsa_key.record)

    assert count(results) == {(DkimWord.FAIL, "signature"): 10}


def test_t11_a_name_listed_as_often_as_there_are_fields(rsa_key: SigningKey) -> None:
    fields = [HeaderField(b"X", b" a")] * 50_000

    results = check(message([signature(h="from" + ":x" * 50_000), *fields, FROM]), rsa_key.record)

    assert count(results) == {(DkimWord.FAIL, "signature"): 1}


def test_t11_fields_of_a_hundred_kilobytes(rsa_key: SigningKey) -> None:
    large = HeaderField(b"Subject", b" \t" * 50_000)
    tags = HeaderField(b"DKIM-Signature", b"".join(b" x%d=;" % number for number in range(10_000)))

    results = check(message([tags, signature(h="from:subject"), large, FROM]), rsa_key.record)

    assert count(results) == {(DkimWord.PERMERROR, "no v=1"): 1, (DkimWord.FAIL, "signature"): 1}


def test_t11_thousands_of_signatures(rsa_key: SigningKey) -> None:
    """DKIM-01: ten are verified, a hundred are told."""
    results = check(message([*[signature()] * 20_000, FROM]), rsa_key.record)

    assert count(results) == {(DkimWord.FAIL, "signature"): 10, (DkimWord.POLICY, "limit"): 90}


@pytest.mark.parametrize("name", [b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results"])
def test_t11_thousands_of_arc_fields(name: bytes) -> None:
    """ARC-01, ARC-12."""
    canonical = CanonicalMessage(message([HeaderField(name, b" i=1; x")] * 20_000))

    assert ArcCheck(canonical, NOW, CheckOptions()).result(Answers()) == ArcResult(
        ArcWord.FAIL, reason="too many sets"
    )
