"""No parser of text from outside does more than linear work: four times the octets, about four times the CPU (T43)."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

import pytest

from appliance.checks.answers import Answers, Missing
from appliance.checks.arc import ArcCheck
from appliance.checks.canonical import Canonicalization, CanonicalMessage
from appliance.checks.dkim import DkimCheck
from appliance.checks.keys import UnusableKey, likely_keys, usable_key
from appliance.checks.options import CheckOptions
from appliance.checks.spf import check_spf
from appliance.checks.tags import InvalidTags, parse_tags, without_value
from appliance.dmarc.record import select_record
from appliance.log import _show
from appliance.mail.author import author_of, find_author
from appliance.mail.domain import InvalidDomain, domain_of, to_a_label
from appliance.mail.message import Envelope, HeaderField, Message, split_message
from appliance.mail.origin import client_in_received, effective_client
from appliance.mail.results_header import forged_results, read_authserv_id
from appliance.mail.results_reader import read_arc_results
from appliance.mail.tokens import NotStructured, tokens
from appliance.milter.connection import MilterConnection
from appliance.milter.replies import Accept
from appliance.milter.wire import ProtocolError
from appliance.quarantine.text import readable
from appliance.resolver import MAX_OCTETS, Answer, Question, RecordType, Status
from reporting.mailto import parse_mailto
from tests.milter.frames import frame, offer

pytestmark = pytest.mark.timeout(120)

MEGABYTE = 1_000_000
LINEAR = 9.0  # four times the octets: 4 when the work is linear, 16 when it is quadratic
NOISE_SECONDS = 0.02
FAR_TOO_MUCH_SECONDS = 0.25  # five times what is allowed, since a busy machine's caches count too
SMALL = 64 * 1024  # the most that the parsers of single characters and tokens are ever given
NOW = datetime(2026, 11, 23, tzinfo=UTC)
NOTHING = Answer(Status.NXDOMAIN)

Parser = Callable[[bytes], object]


def message(*fields: tuple[bytes, bytes], body: bytes = b"") -> Message:
    envelope = Envelope(
        client_ip=IPv4Address("192.0.2.1"),
        client_name="",
        helo="mx.example.org",
        mail_from="a@example.org",
        recipients=(),
        queue_id="4ZqK1",
        received_at=NOW,
    )
    return Message(envelope, tuple(HeaderField(*field) for field in fields), body)


def read_tags(octets: bytes) -> object:
    try:
        return parse_tags(octets)
    except InvalidTags:
        return None


def read_tokens(octets: bytes) -> object:
    try:
        return sum(1 for _ in tokens(octets))
    except NotStructured:
        return None


def read_domain(octets: bytes) -> object:
    try:
        return to_a_label(domain_of(octets.decode("utf-8", "surrogateescape")))
    except InvalidDomain:
        return None


def read_key(octets: bytes) -> object:
    try:
        return [usable_key(record, "rsa", CheckOptions()) for record in likely_keys((octets,))]
    except UnusableKey:
        return None


def read_dmarc(octets: bytes) -> object:
    return select_record((b"v=DMARC1; p=none; rua=" + octets,))


def read_spf(octets: bytes) -> object:
    """As the resolver lets it through."""
    text = (b"v=spf1 " + octets)[:MAX_OCTETS]
    question = Question("example.org", RecordType.TXT)
    answers = Answers({question: Answer(Status.RECORDS, (text,), 60)})
    try:
        return check_spf(IPv4Address("192.0.2.1"), "mx.example.org", "a@example.org", answers)
    except Missing:
        return None


def read_signature(octets: bytes) -> object:
    """Through to the question for the key; a signed field as long as the signature itself."""
    start = b" v=1; a=rsa-sha256; d=example.org; s=s; h=from:x; bh=YWJj; b=YWJj; z="
    fields = ((b"DKIM-Signature", start + octets), (b"From", b" a@example.org"), (b"X", octets))
    check = DkimCheck(CanonicalMessage(message(*fields)), ["example.org"], NOW, CheckOptions())
    return check.questions, without_value(octets, b"b")


def read_field_list(octets: bytes) -> object:
    """As ``h=``."""
    start = b" v=1; a=rsa-sha256; d=example.org; s=s; bh=YWJj; b=YWJj; h=from:"
    canonical = CanonicalMessage(message((b"DKIM-Signature", start + octets), (b"a", b"")))
    names = octets.lower().split(b":")
    return canonical.signed_fields(Canonicalization.RELAXED, names, 0)


def read_results(octets: bytes) -> object:
    found = forged_results(message((b"Authentication-Results", octets)), "gateway.example")
    return found, read_authserv_id(octets)


def read_folded_field(octets: bytes) -> None:
    split_message(b"Subject: x" + octets)


def read_many_fields(octets: bytes) -> object:
    """Not one long field, but many short ones: results to take away, signatures, hops."""
    pieces = [octets[at : at + 20] for at in range(0, len(octets), 20)]
    fields = [(name, piece) for piece in pieces for name in (b"Authentication-Results", b"DKIM-Signature")]
    many = message(*fields, (b"From", b" a@example.org"))
    check = DkimCheck(CanonicalMessage(many), ["example.org"], NOW, CheckOptions())
    return forged_results(many, "gateway.example"), find_author(many), check.questions


def canonical_forms(octets: bytes) -> object:
    canonical = CanonicalMessage(message((b"Subject", octets), body=octets))
    return canonical.relaxed(0), [canonical.body_hash(form, None) for form in Canonicalization]


def read_uri(octets: bytes) -> object:
    try:
        return parse_mailto("mailto:" + octets.decode("latin-1"))
    except ValueError:
        return None


def read_chain(octets: bytes) -> object:
    """ARC sets whose three fields are as long as can be."""
    start = b" i=1; a=rsa-sha256; d=example.org; s=s; bh=YWJj; b=YWJj; h=from:x; z="
    sets = (
        (b"ARC-Seal", b" i=1; a=rsa-sha256; d=example.org; s=s; cv=none; b=" + octets),
        (b"ARC-Message-Signature", start + octets),
        (b"ARC-Authentication-Results", b" i=1; mx.example.org; " + octets),
        (b"From", b" a@example.org"),
    )
    check = ArcCheck(CanonicalMessage(message(*sets, (b"X", octets))), NOW, CheckOptions())
    return check.questions, check.result(Answers(dict.fromkeys(check.questions, NOTHING)))


def read_header_block(octets: bytes) -> object:
    """What is looked at before anything is judged."""
    found = message((b"From", b" a@example.org"), (b"Subject", octets), (b"Message-ID", octets))
    return find_author(found), found.size_octets, readable(found.text("subject")), found.text("message-id")


def read_hops(octets: bytes) -> object:
    """Received fields that are all of Known Hosts."""
    pieces = [octets[at : at + 200] for at in range(0, len(octets), 200)]
    return effective_client(message(*((b"Received", piece) for piece in pieces)), [IPv4Network("0.0.0.0/0")])


def converse(*commands: bytes, read_octets: int = 65_536) -> bytes | None:
    """The milter's part of a conversation, in reads of that size; all of it or up to what the protocol forbids."""
    connection = MilterConnection()
    stream = b"".join((offer(), frame(b"C", b"x\0U"), *commands))
    try:
        for at in range(0, len(stream), read_octets):
            connection.receive(stream[at : at + read_octets], NOW)
    except ProtocolError:
        return None
    if connection.reply_is_due:
        connection.reply(Accept((0,)))
    return connection.data_to_send()


def milter_field(octets: bytes) -> object:
    value = octets.replace(b"\0", b"x")
    return converse(*ENVELOPE, frame(b"L", b"X\0" + value + b"\0"), frame(b"N"), frame(b"E"))


def milter_fields(octets: bytes) -> object:
    """Many short ones, in reads that fit none."""
    pieces = (octets[at : at + 20].replace(b"\0", b"x") for at in range(0, len(octets), 20))
    fields = b"".join(frame(b"L", b"X\0" + piece + b"\0") for piece in pieces)
    return converse(*ENVELOPE, fields, frame(b"N"), frame(b"E"), read_octets=333)


def milter_body(octets: bytes) -> object:
    chunks = b"".join(frame(b"B", octets[at : at + 65_535]) for at in range(0, len(octets), 65_535))
    field = frame(b"L", b"X\0y\0")
    return converse(*ENVELOPE, field, frame(b"N"), chunks, frame(b"E"), read_octets=1000)


def milter_envelope(octets: bytes) -> object:
    """The same as an address, as parameters and as macros."""
    octets = octets[:-2]  # the longest that is taken
    strings = octets + b"\0"
    macros = frame(b"D", b"M" + strings[:60_000])
    return (
        converse(frame(b"H", octets.replace(b"\0", b"x") + b"\0")),
        converse(macros, frame(b"M", strings), frame(b"R", strings)),
    )


def write_log_value(octets: bytes) -> object:
    return _show(octets.decode("utf-8", "surrogateescape"))


ENVELOPE = frame(b"M", b"<a@example.org>\0"), frame(b"R", b"<u@corp.example>\0"), frame(b"T")

PARSERS: dict[str, Parser] = {
    "From": author_of,
    "tokens": read_tokens,
    "Received": client_in_received,
    "results field": read_results,
    "sealed results": read_arc_results,
    "domain": read_domain,
    "tag list": read_tags,
    "signature": read_signature,
    "list of signed fields": read_field_list,
    "key record": read_key,
    "DMARC record": read_dmarc,
    "SPF record": read_spf,
    "report address": read_uri,
    "message": split_message,
    "folded field": read_folded_field,
    "many fields": read_many_fields,
    "canonical forms": canonical_forms,
    "ARC chain": read_chain,
    "header block": read_header_block,
    "hops": read_hops,
    "milter: field": milter_field,
    "milter: fields": milter_fields,
    "milter: body": milter_body,
    "milter: envelope": milter_envelope,
    "log value": write_log_value,
}
PIECEMEAL = {read_tokens, read_domain, read_many_fields, milter_fields, milter_envelope}
"""For shorter texts: From is bounded, and so is SMTP's command line; many fields are bounded by the CPU budget."""

HOSTILE = [
    b"a", b" ", b"(", b"()", b'"', b'"a" ', b"\\", b"<", b"<>", b",", b";", b"a;", b"a=b;", b"=", b":", b"a:", b"@", b"a@b,",
    b".", b"a.", b"[", b"\r\n ", b"\r\n", b"\n", b"\r", b"\t", b"\0", b"\xff", b"=?x?q?=40?=", b"%{d}.", b"a:%{l1r+-/} ",
    b"ip4:192.0.2.2 ", b"exists:a ", b"mailto:a@b!1m,", b"%41", b"from [192.0.2.1] (", b"x; dmarc=pass ", b"a  \r\n",
]  # fmt: skip


def cpu_seconds(parser: Parser, octets: bytes) -> float:
    started = time.process_time()
    parser(octets)
    return time.process_time() - started


def seems_quadratic(parser: Parser, pattern: bytes, octets: int) -> bool:
    """Other work on the machine can make one measure of it, hardly three."""
    quarter, whole = repeated(pattern, octets // 4), repeated(pattern, octets)
    return all(
        cpu_seconds(parser, whole) > LINEAR * cpu_seconds(parser, quarter) + NOISE_SECONDS for _ in range(3)
    )


def repeated(pattern: bytes, octets: int) -> bytes:
    return (pattern * (octets // len(pattern) + 1))[:octets]


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS.keys())
def test_t43_four_times_the_octets_cost_four_times_the_work(parser: Parser) -> None:
    octets = SMALL if parser in PIECEMEAL else MEGABYTE

    assert [pattern for pattern in HOSTILE if seems_quadratic(parser, pattern, octets)] == []


@pytest.mark.parametrize(
    "parser", [p for p in PARSERS.values() if p not in PIECEMEAL], ids=lambda p: p.__name__
)
def test_t43_a_value_of_a_megabyte_is_no_work_worth_mentioning(parser: Parser) -> None:
    costly = {}
    for pattern in HOSTILE:
        octets = repeated(pattern, MEGABYTE)
        seconds = min(cpu_seconds(parser, octets) for _ in range(2))
        if seconds > FAR_TOO_MUCH_SECONDS:
            costly[pattern] = seconds

    assert not costly


def test_t43_the_measure_notices_quadratic_work() -> None:
    def quadratic(octets: bytes) -> int:
        return sum(octets.find(b"x") for _ in range(len(octets) // 100))

    assert seems_quadratic(quadratic, b"a", MEGABYTE)
