"""``dmarcgate verify``: one JSON answer for each line, at once and in order, whatever the line holds."""

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from appliance.lab.nameserver import Behaviour, NameServer, Zone

MESSAGE = b"From: a@example.org\r\nSubject: x\r\n\r\nHello\r\n"


class Verify:
    """A running ``dmarcgate verify``."""

    def __init__(self, nameserver: NameServer) -> None:
        self.zone = nameserver.zone
        self._dns = nameserver.address
        self._process = subprocess.Popen(
            [sys.executable, "-m", "appliance", "verify"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def raw(self, line: bytes) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def __call__(self, message: bytes | None = MESSAGE, **values: Any) -> dict[str, Any]:
        request = {
            "id": 1,
            "op": "verify",
            "ip": "192.0.2.1",
            "helo": "client.example",
            "mail_from": "a@example.org",
            "message_b64": None if message is None else base64.b64encode(message).decode("ascii"),
            "now": 1795435200,
            "dns": self._dns,
            "dns_timeout": 1,
        }
        return self.raw(json.dumps(request | values).encode())

    def close(self) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait(20)


@pytest.fixture(scope="module")
def nameserver() -> Iterator[NameServer]:
    zone = Zone()
    zone.txt("example.org", "v=spf1 ip4:192.0.2.1 -all")
    zone.txt(
        "_dmarc.example.org",
        "v=DMARC1; p=reject; sp=quarantine; rua=mailto:r@example.org,mailto:x@other.example",
    )
    zone.txt("slow.example", "v=spf1 -all")
    zone.a("sub.example.org", "192.0.2.80")
    zone.misbehave("_dmarc.broken.example", Behaviour.SERVFAIL)
    with NameServer(zone) as running:
        yield running


@pytest.fixture(scope="module")
def verify(nameserver: NameServer) -> Iterator[Verify]:
    running = Verify(nameserver)
    try:
        yield running
    finally:
        assert running.close() == 0


def test_a_pass_is_answered_with_every_value(verify: Verify) -> None:
    answer = verify()

    assert answer == {
        "id": 1,
        "spf": "pass",
        "spf_exp": None,
        "dkim": [],
        "arc": "none",
        "dmarc": "pass",
        "policy": "reject",
        "disposition": "none",
        "policy_domain": "example.org",
        "org_domain": "example.org",
        "author_domain": "example.org",
        "spf_aligned": "pass",
        "dkim_aligned": "fail",
        "error": None,
    }


def test_a_failure_of_a_subdomain_has_the_subdomain_policy(verify: Verify) -> None:
    answer = verify(b"From: a@sub.example.org\r\n\r\n", ip="198.51.100.1")

    assert (answer["dmarc"], answer["policy"], answer["disposition"], answer["policy_domain"]) == (
        "fail",
        "quarantine",
        "quarantine",
        "example.org",
    )


def test_s22_trouble_with_the_dns_is_temperror_and_asks_for_nothing(verify: Verify) -> None:
    answer = verify(b"From: a@broken.example\r\n\r\n", mail_from="")

    assert (answer["dmarc"], answer["policy"], answer["disposition"], answer["error"]) == (
        "temperror",
        None,
        "none",
        None,
    )


def test_without_a_message_only_spf_is_checked(verify: Verify) -> None:
    answer = verify(None)

    assert (answer["spf"], answer["dmarc"], answer["author_domain"]) == ("pass", "none", None)


def test_without_an_address_there_is_no_spf(verify: Verify) -> None:
    answer = verify(ip=None)

    assert (answer["spf"], answer["dmarc"]) == ("none", "fail")


def test_from_05_several_author_domains_fail_when_any_of_them_does(verify: Verify) -> None:
    answer = verify(b"From: a@example.org, b@nothing.example, c@sub.example.org\r\n\r\n", ip="198.51.100.1")

    assert answer["dmarc"] == "fail"


def test_from_05_several_author_domains_of_which_none_fails_are_permerror_never_pass(verify: Verify) -> None:
    answer = verify(b"From: a@example.org, b@nothing.example\r\n\r\n")

    assert answer["dmarc"] == "permerror"


def test_from_06_an_unusable_from_is_permerror(verify: Verify) -> None:
    assert verify(b"Subject: none\r\n\r\n")["dmarc"] == "permerror"


@pytest.mark.parametrize(
    "values",
    [
        {"ip": "1.2.3"},
        {"helo": "a\r\nb"},
        {"mail_from": "a@example.org\n"},
        {"message_b64": "%%%"},
        {"now": "noon"},
        {"now": 1e300},
        {"dns": "localhost"},
        {"dns_timeout": 0},
        {"op": "guess"},
        {"helo": 7},
    ],
    ids=str,
)
def test_input_that_can_not_be_used_has_an_error_and_does_not_end_the_run(
    verify: Verify, values: dict[str, Any]
) -> None:
    answer = verify(**values)

    assert answer["id"] == 1
    assert answer["error"]
    assert "\n" not in answer["error"]
    assert verify()["dmarc"] == "pass"


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b"\xff\xfe", b'{"id": 5}', b"[" * 100_000], ids=repr
)
def test_a_line_that_is_no_request_is_answered_with_an_error(verify: Verify, line: bytes) -> None:
    assert verify.raw(line[:100_000])["error"]


def test_ext_04_report_uris_names_those_that_agreed(verify: Verify) -> None:
    record = "v=DMARC1; p=none; rua=mailto:a@example.org,mailto:b@other.example; ruf=mailto:c@sub.example.org"

    answer = verify(op="report_uris", policy_domain="example.org", record=record)

    assert answer == {"id": 1, "rua": ["a@example.org"], "ruf": ["c@sub.example.org"], "error": None}


def test_nothing_is_kept_from_one_line_to_the_next(verify: Verify) -> None:
    before = verify(mail_from="a@changing.example")["spf"]
    verify.zone.txt("changing.example", "v=spf1 +all")

    after = verify(mail_from="a@changing.example")["spf"]

    assert (before, after) == ("none", "pass")
