"""An SPF record and the records it leads to: a result within the limits, and no exception of the library."""

from appliance.checks.answers import Answers, Missing
from appliance.checks.spf import check_spf
from appliance.mail.address import parse_ip
from appliance.mail.authentication import SpfResult
from appliance.mail.message import IPAddress
from tests.fuzz.material import Answering, parts_of, text_of

WORDS = (
    "\n%%\n|v=spf1 | include:| redirect=| exists:| a:| mx:| ptr:| ip4:192.0.2.0/24| exp=|//64|%{s}|"
    "%{l1r-}|%{i}|%{ir}.%{v}.|%{d2}|%{h}|%%|%_| ip6:2001:db8::/32| ?all| ~all"
)


def target(data: bytes) -> None:
    """The first part is the envelope: client, HELO name and reverse path; the others answer the questions."""
    envelope, *parts = parts_of(data)
    client, helo, mail_from = (*envelope.split(b" ", 2), b"", b"")[:3]
    ip = parse_ip(client.decode("ascii", "replace")) or parse_ip("192.0.2.1")
    result = check(ip, text_of(helo), text_of(mail_from) or "ann@example.org", Answering(parts))
    assert result.reason != "internal error"
    assert result.reason.isascii()
    assert result.domain.isascii()


def check(ip: IPAddress | None, helo: str, mail_from: str, answering: Answering) -> SpfResult:
    answers = Answers()
    while True:
        try:
            return check_spf(ip, helo, mail_from, answers)
        except Missing as missing:
            answering.fill(answers, missing)
