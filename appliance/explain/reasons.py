"""Why SPF and each signature came out so, in sentences; and what to do about a signature."""

from dataclasses import dataclass

from appliance.explain.visible import visible
from appliance.mail.authentication import DkimResult, DkimWord, SpfResult, SpfScope, SpfWord


@dataclass(frozen=True, slots=True)
class _Reason:
    because: str
    remedy: str
    """For the signer; ``{key}`` is where the key stands or should stand."""


_SIGNATURE_TAGS = "make the signing program write signatures as RFC 6376 has them"

_DKIM = {
    "body hash": _Reason(
        "the body is not the one that was signed",
        "the body was changed after signing: sign behind every program that changes mail (footers, virus filters); "
        "if a mailing list or forwarder changed it, nothing is wrong on your side",
    ),
    "signature": _Reason(
        "a signed header field was changed, or the published key is not the signer's",
        "compare the private key with the public one at {key}; if they fit, a signed header field was changed after "
        "signing",
    ),
    "no key": _Reason("no key is published at {key}", "publish the key at {key}, or sign with a selector that exists"),
    "key revoked": _Reason(
        "the key at {key} is revoked (empty p=)", "sign with another selector: the key at {key} is revoked"
    ),
    "key record too long": _Reason("the record at {key} is too long for a key", "publish one plain key at {key}"),
    "key record unparsable": _Reason(
        "the record at {key} can't be read", "correct the record at {key}: tags are separated by semicolons, each once"
    ),
    "key record of another version": _Reason(
        "the record at {key} is of another version", "begin the record at {key} with v=DKIM1"
    ),
    "key unusable": _Reason(
        "the key at {key} can't be used", "publish the key at {key} again: its p= holds no whole key of its type"
    ),
    "key of another type": _Reason(
        "the key at {key} is of another type than the signature's",
        "give each algorithm a selector of its own: {key} holds the key of another",
    ),
    "key not for sha256": _Reason(
        "the key at {key} does not allow SHA-256", "remove h= from the record at {key}, or list sha256 in it"
    ),
    "key not for mail": _Reason(
        "the key at {key} is not for mail", "remove s= from the record at {key}, or list email in it"
    ),
    "rsa-sha1": _Reason("rsa-sha1 is no longer accepted (RFC 8301)", "sign with rsa-sha256"),
    "unknown algorithm": _Reason("the algorithm is unknown", "sign with rsa-sha256"),
    "From is not signed": _Reason(
        "it does not cover the From field", "let the signature cover the From field (h=From:…)"
    ),
    "i= is not below d=": _Reason("i= does not lie within d=", "leave i= out, or let it end in the domain of d="),
    "i= is not the exact domain": _Reason(
        "the key demands that i= names exactly d= (t=s)", "leave i= out, or remove t=s from the record at {key}"
    ),
    "expired": _Reason(
        "it has expired (x=)", "sign with a later x=, or none: the message was on its way longer than x= allows"
    ),
    "made in the future": _Reason("its time of signing is in the future", "set the signing machine's clock right"),
    "expires before it was made": _Reason("it expires before it was made", "correct x= and t="),
    "d= is a top-level domain": _Reason("d= is a top-level domain", "sign with d= of your own domain"),
    "l= is longer than the body": _Reason(
        "it covers more than there is of the body", "do not use l=; something cut the body off after signing"
    ),
    "covers part of the body": _Reason(
        "it covers part of the body only, so anybody may add to it (l=)", "do not use l= in signatures"
    ),
    "unsigned duplicate field": _Reason(
        "a field stands in the message twice, and only one of them is signed",
        "send each header field once, and sign such fields one time more than they occur",
    ),
    "limit": _Reason("the message has too many signatures; this one was not checked", "sign a message fewer times"),
}  # fmt: skip

_SPF = {
    SpfWord.PASS: "the record of {domain} allows the client",
    SpfWord.FAIL: "the record of {domain} forbids the client",
    SpfWord.SOFTFAIL: "the record of {domain} says the client is probably not allowed (~)",
    SpfWord.NEUTRAL: "the record of {domain} does not say whether the client is allowed",
    SpfWord.PERMERROR: "the record of {domain} can't be evaluated: {reason}",
    SpfWord.TEMPERROR: "the DNS could not tell now: {reason}",
    SpfWord.POLICY: "{reason}",
}


def of_signature(result: DkimResult, key_name: str) -> str:
    """One sentence without a full stop."""
    if result.result is DkimWord.PASS:
        return "it verifies"
    if result.result is DkimWord.TEMPERROR:
        return f"the key could not be fetched now: {visible(result.reason.removeprefix('key: '))}"
    known = _DKIM.get(result.reason)
    return known.because.format(key=key_name or "its selector") if known else visible(result.reason)


def remedy_of_signature(reason: str, key_name: str) -> str:
    known = _DKIM.get(reason)
    if known:
        return known.remedy.format(key=key_name or "the selector")
    if reason.startswith("key "):
        return f"publish another key at {key_name}: {visible(reason)}"
    return f"{_SIGNATURE_TAGS}: {visible(reason)}"


def of_spf(result: SpfResult) -> str:
    """One sentence without a full stop."""
    if result.result is SpfWord.NONE:
        return _no_spf(result)
    return _SPF[result.result].format(domain=result.domain, reason=visible(result.reason))


def _no_spf(result: SpfResult) -> str:
    if result.reason == "no client address":
        return "the client's address is not known"
    if not result.domain or "." not in result.domain:
        which = "HELO" if result.scope is SpfScope.HELO else "MAIL FROM"
        return f"{which} holds no domain that can be checked"
    return f"{result.domain} publishes no SPF record"
