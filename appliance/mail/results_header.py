"""Write our Authentication-Results field, find forged ones, and write the X-header (RFC 8601).

A value that comes from the message or the DNS is written only when it is a strictly valid domain, address or word;
else its property is left out. So nothing a sender says can become a result.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from appliance.mail.authentication import (
    ArcResult,
    Authentication,
    DkimResult,
    DkimWord,
    SpfResult,
    SpfScope,
)
from appliance.mail.domain import InvalidDomain, to_a_label
from appliance.mail.message import IPAddress, Message
from appliance.mail.tokens import Kind, NotStructured, tokens

FIELD_NAME = "Authentication-Results"
_FIELD = FIELD_NAME.lower().encode("ascii")
MAX_COLUMNS = 77  # leaves room for the semicolon (RFC 5322 section 2.1.1: 78)
MAX_DKIM_RESULTS = 100
MAX_COMMENT_CHARACTERS = 80
MAX_START_OCTETS = 1024  # of a field of others, within which its authserv-id must end (T43)

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")  # RFC 2045 section 5.1
_PRINTABLE = re.compile(r"[ -~]+")
_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]+(?:\.[A-Za-z0-9_+-]+)*")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,40}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{1,32}={0,2}")
_PLAIN_START = re.compile(rb"[ \t]*+([A-Za-z0-9.-]++)[ \t]*+;")
_NOT_FOR_COMMENTS = re.compile(r"[^A-Za-z0-9 _.,:/+-]")

SEVERAL_DOMAINS = "several author domains"


class DmarcOutcome(Protocol):
    """What is written of one Author Domain's evaluation (``appliance.dmarc`` stands above this package)."""

    @property
    def author_domain(self) -> str: ...
    @property
    def result(self) -> str: ...
    @property
    def policy(self) -> str | None: ...
    @property
    def requested(self) -> str | None: ...
    @property
    def testing(self) -> bool: ...
    @property
    def reason(self) -> str: ...


def write(
    authserv_id: str,
    authentication: Authentication | None,
    evaluations: Sequence[DmarcOutcome],
    *,
    client_ip: IPAddress | None = None,
    dispositions: Sequence[str] = (),
    unusable: str = "",
    incomplete: bool = False,
) -> bytes:
    """The value of our Authentication-Results field: leading space and folds included, as ``HeaderField.value``.

    *dispositions* goes with *evaluations*, one for one: what was done about each (``none``, ``quarantine`` …).
    Without evaluations *unusable* says why the From field is; when it is empty too, the checks could not be run.
    *incomplete*: there were more author domains than were evaluated.
    """
    results = [] if authentication is None else _mechanisms(authentication, client_ip)
    if evaluations:
        several = incomplete or len(evaluations) > 1
        for at, evaluation in enumerate(evaluations):
            disposition = dispositions[at] if dispositions else ""
            results.append(_dmarc(evaluation, disposition, several=several, incomplete=incomplete))
    elif unusable:
        results.append(["dmarc=permerror", *_comment(unusable)])
    else:
        results.append(["dmarc=temperror"])
    return _fold(_authserv_id(authserv_id), results).encode("ascii")


def overall_word(evaluations: Sequence[DmarcOutcome], *, unusable: str = "", incomplete: bool = False) -> str:
    """One word for the message: with several Author Domains fail or permerror, never pass (RFC 9989 section 11.5)."""
    if not evaluations:
        return "permerror" if unusable else "temperror"
    if len(evaluations) == 1 and not incomplete:
        return _word(evaluations[0].result)
    return "fail" if any(evaluation.result == "fail" for evaluation in evaluations) else "permerror"


def x_header_value(
    evaluations: Sequence[DmarcOutcome], *, action: str, unusable: str = "", incomplete: bool = False
) -> bytes:
    """The value of the X-header, such as `` fail (p=reject; action=quarantine; from=example.com)``.

    Begins with ``overall_word`` after its leading space; *action* is a word of ours.
    """
    details = [*(f"p={_word(policy)}" for policy in _strictest(evaluations)), f"action={_word(action)}"]
    if unusable and not evaluations:
        details.insert(0, "".join(_plain(unusable)))
    if incomplete:
        details.append("incomplete")
    details += [f"from={domain}" for e in evaluations if (domain := _domain(e.author_domain))]
    word = overall_word(evaluations, unusable=unusable, incomplete=incomplete)
    explanation = "; ".join(details)
    return _wrapped(len("X-DMARC-Result:"), f" {word} ({explanation})".split(" ")[1:], " ").encode("ascii")


def forged_results(message: Message, authserv_id: str) -> tuple[int, ...]:
    """Where in ``message.fields`` stand Authentication-Results fields that must not stay, in ascending order.

    Those that carry our *authserv_id* and those whose authserv-id or version can't be read (RFC 8601 section 5).
    Whoever deletes by number must begin at the end.
    """
    ours = _comparable(authserv_id)
    return tuple(
        place
        for place in message.places_named(_FIELD)
        if read_authserv_id(message.fields[place].value) in {None, ours}
    )


def read_authserv_id(value: bytes) -> str | None:
    """The authserv-id of an Authentication-Results field, fit for comparison; ``None`` when it can't be read.

    A version other than 1 is not read either.
    """
    start = value[:MAX_START_OCTETS]
    if plain := _PLAIN_START.match(start):
        return _comparable(plain[1].decode("ascii"))
    before: list[str] = []
    try:
        for token in tokens(start):
            if token.is_special(";"):
                break
            if token.kind is Kind.COMMENT:
                continue
            readable = token.kind is Kind.QUOTED or (token.kind is Kind.ATOM and _is_word(token.text))
            if not readable or len(before) == 2:
                return None
            before.append(token.text)
        else:
            if len(value) > MAX_START_OCTETS:
                return None
    except NotStructured:
        return None
    if not before or not before[0] or before[1:] not in ([], ["1"]):
        return None
    return _comparable(before[0])


def _is_word(text: str) -> bool:
    """Whether *text* is a token, with UTF-8 beyond ASCII allowed (RFC 8616)."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        return False
    return bool(_TOKEN.fullmatch("".join(char for char in text if char.isascii()) or "x"))


def _comparable(authserv_id: str) -> str:
    try:
        return to_a_label(authserv_id)
    except InvalidDomain:
        return authserv_id.casefold()


def _mechanisms(authentication: Authentication, client_ip: IPAddress | None) -> list[list[str]]:
    dkim = authentication.dkim
    if len(dkim) > MAX_DKIM_RESULTS:
        dkim = tuple(sorted(dkim, key=lambda signature: signature.result is not DkimWord.PASS))
    return [
        _spf(authentication.spf),
        *([_dkim(signature) for signature in dkim[:MAX_DKIM_RESULTS]] or [["dkim=none"]]),
        _arc(authentication.arc, client_ip),
    ]


def _spf(spf: SpfResult) -> list[str]:
    identity = "smtp.helo" if spf.scope is SpfScope.HELO else "smtp.mailfrom"
    return [f"spf={spf.result}", *_comment(spf.reason), *_property(identity, _domain(spf.domain))]


def _dkim(signature: DkimResult) -> list[str]:
    return [
        f"dkim={signature.result}",
        *_comment(", ".join(filter(None, (signature.reason, "testing" if signature.testing else "")))),
        *_property("header.d", _domain(signature.domain)),
        *_property("header.i", _identity(signature.identity)),
        *_property("header.s", _domain(signature.selector)),
        *_property("header.a", _matching(_WORD, signature.algorithm)),
        *_property("header.b", _matching(_BASE64, signature.signature_start)),
    ]


def _arc(arc: ArcResult, client_ip: IPAddress | None) -> list[str]:
    oldest = "" if arc.oldest_pass is None else str(arc.oldest_pass)
    return [
        f"arc={arc.result}",
        *_comment(arc.reason),
        *_property("header.oldest-pass", oldest),
        *_property("smtp.remote-ip", "" if client_ip is None else str(client_ip)),
    ]


def _dmarc(evaluation: DmarcOutcome, disposition: str, *, several: bool, incomplete: bool) -> list[str]:
    word = _word(evaluation.result)
    if several and word not in {"fail", "temperror"}:
        word = "permerror"
    remarks = [
        *(f"p={_word(policy)}" for policy in (evaluation.policy,) if policy),
        *(["t=y"] if evaluation.testing else []),
        *([f"dis={_word(disposition)}"] if disposition else []),
    ]
    texts = [SEVERAL_DOMAINS if several else "", "incomplete" if incomplete else "", evaluation.reason]
    plain = _plain(", ".join(filter(None, texts)))
    comment = " ".join([*remarks, *plain])
    return [
        f"dmarc={word}",
        *([f"({comment})"] if comment else []),
        *_property("header.from", _domain(evaluation.author_domain)),
        *_property("policy.dmarc", _word(evaluation.requested) if evaluation.requested else ""),
    ]


def _strictest(evaluations: Iterable[DmarcOutcome]) -> list[str]:
    """The strictest policy asked for by the domains that speak for the overall word; none or one."""
    everyone = list(evaluations)
    failing = [e for e in everyone if e.result == "fail"] or everyone
    policies = {e.requested for e in failing}
    strictest_first: tuple[str, ...] = ("reject", "quarantine", "none")
    return [policy for policy in strictest_first if policy in policies][:1]


def _property(name: str, value: str) -> list[str]:
    return [f"{name}={_value(value)}"] if value else []


def _value(value: str) -> str:
    """A pvalue: as it is when it is a token or an address, else quoted."""
    local, at, domain = value.rpartition("@")
    if _TOKEN.fullmatch(domain) and (not at or not local or _TOKEN.fullmatch(local)):
        return value
    return _quoted(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _authserv_id(text: str) -> str:
    """Our name, from the settings; quoted where it is no token. Raises ``ValueError`` when it can't be written."""
    if _TOKEN.fullmatch(text):
        return text
    if not text.isascii():
        return to_a_label(text)
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("the authserv-id must be printable; use the mail domain")
    return _quoted(text)


def _domain(text: str) -> str:
    """*text* as A-labels, or ``""`` when it is no domain name."""
    try:
        return to_a_label(text) if text else ""
    except InvalidDomain:
        return ""


def _identity(text: str) -> str:
    """``i=``: an address whose local part may be missing, or ``""`` when it isn't a plain one."""
    local, at, host = text.rpartition("@")
    domain = _domain(host)
    if not domain or len(local) > 64 or (local and not _LOCAL_PART.fullmatch(local)):
        return ""
    return f"{local}{at}{domain}"


def _matching(pattern: re.Pattern[str], text: str) -> str:
    return text if pattern.fullmatch(text) else ""


def _word(text: str) -> str:
    """A word of ours; raises ``ValueError`` when it is none, since that is a programming error."""
    if not _WORD.fullmatch(text):
        raise ValueError(f"not a word for a results header: {text!r}")
    return str(text)


def _plain(text: str) -> list[str]:
    """*text* fit for a comment, in a list; an empty list when nothing is left of it."""
    plain = " ".join(_NOT_FOR_COMMENTS.sub(" ", text[:MAX_COMMENT_CHARACTERS]).split())
    return [plain] if plain else []


def _comment(text: str) -> list[str]:
    return [f"({plain})" for plain in _plain(text)]


def _fold(authserv_id: str, results: Sequence[Sequence[str]]) -> str:
    """Each result begins a line; its further lines begin with two spaces."""
    lines = [_wrapped(0, result, "  ") for result in results]
    return f" {authserv_id};\r\n" + ";\r\n".join(lines)


def _wrapped(column: int, words: Sequence[str], indent: str) -> str:
    """*words* after single spaces, folded before the one that would pass the last column."""
    text = ""
    for word in words:
        if text and column + 1 + len(word) > MAX_COLUMNS:
            text += f"\r\n{indent}{word}"
            column = len(indent) + len(word)
        else:
            text += f" {word}"
            column += 1 + len(word)
    return text
