"""A small ARC sealer (RFC 8617) that can also seal wrongly; canonical forms come from dkimpy, signatures from OpenSSL."""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from dkim.canonicalization import CanonicalizationPolicy

from appliance.mail.message import HeaderField, split_message
from tests.checks.mails import NOW, SigningKey

AAR, AMS, SEAL = "ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"

Change = Mapping[str, str | None]
"""Tags to set or, with ``None``, to leave out."""


@dataclass(frozen=True)
class Sealer:
    """Who seals. The key is an RSA key in PEM, or 32 octets of Ed25519 in base64."""

    key: SigningKey
    domain: str = "list.example"
    selector: str = "arc"

    @property
    def place(self) -> str:
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def algorithm(self) -> str:
        return "rsa-sha256" if self.key.private.startswith(b"-----") else "ed25519-sha256"

    def sign(self, octets: bytes) -> str:
        if self.algorithm == "ed25519-sha256":
            private = ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(self.key.private))
            signature = private.sign(hashlib.sha256(octets).digest())
        else:
            signature = _loaded(self.key.private).sign(octets, padding.PKCS1v15(), SHA256())
        return base64.b64encode(signature).decode()


@cache
def _loaded(pem: bytes) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


@dataclass(frozen=True)
class Fault:
    """What a set is made with other than it should be."""

    ams: Change | None = None
    seal: Change | None = None
    after_ams: Change | None = None
    """Changed after signing."""
    after_seal: Change | None = None
    space: str = " "
    """Before the first tag."""
    instance: str | None = None
    """What the results begin with, in place of ``i=`` and the number."""
    seals_itself_only: bool = False
    """As a sealer does that has found the chain broken (RFC 8617 section 5.1.2)."""


FLAWLESS = Fault()


def with_set(
    octets: bytes,
    sealer: Sealer,
    *,
    cv: str | None = None,
    results: str = "dmarc=pass header.from=example.org",
    names: str = "from:to:subject:date:message-id",
    fault: Fault = FLAWLESS,
) -> bytes:
    """*octets* with the next set on top; *cv* as an honest sealer would have it unless given."""
    fields, body = split_message(octets)
    instance = 1 + sum(field.is_named(SEAL.lower().encode()) for field in fields)
    base = {
        "i": str(instance),
        "a": sealer.algorithm,
        "d": sealer.domain,
        "s": sealer.selector,
        "t": str(int(NOW.timestamp())),
    }
    prefix = fault.instance if fault.instance is not None else f"i={instance}"
    results_field = HeaderField(AAR.encode(), f" {prefix}; {sealer.domain}; {results}".encode())
    tags = _changed({**base, "c": "relaxed/relaxed", "h": names, "bh": "", "b": ""}, fault.ams)
    if tags.get("bh") == "":
        canonical = _policy(tags).canonicalize_body(body)
        tags["bh"] = base64.b64encode(hashlib.sha256(canonical).digest()).decode()
    unsigned = _field(AMS, tags, fault.space)
    signature = sealer.sign(_selected((results_field, *fields), tags, unsigned))
    message_signature = _field(AMS, _changed({**tags, "b": signature}, fault.after_ams), fault.space)
    status = cv or ("none" if instance == 1 else "pass")
    tags = _changed({**base, "cv": status, "b": ""}, fault.seal)
    unsigned = _field(SEAL, tags, fault.space)
    earlier = [_of_instance(fields, name, n) for n in range(1, instance) for name in (AAR, AMS, SEAL)]
    covered = [*([] if fault.seals_itself_only else earlier), results_field, message_signature, unsigned]
    signature = sealer.sign(_canonical("relaxed", [field for field in covered if field]))
    seal = _field(SEAL, _changed({**tags, "b": signature}, fault.after_seal), fault.space)
    return b"".join(f.octets + b"\r\n" for f in (seal, message_signature, results_field)) + octets


def without(octets: bytes, name: str, instance: int) -> bytes:
    """*octets* without the *name* field of *instance*."""
    fields, body = split_message(octets)
    gone = _of_instance(fields, name, instance)
    assert gone
    return b"".join(f.octets + b"\r\n" for f in fields if f is not gone) + b"\r\n" + body


def _changed(tags: dict[str, str], change: Change | None) -> dict[str, str]:
    merged: dict[str, str | None] = {**tags, **(change or {})}
    return {name: value for name, value in merged.items() if value is not None}


def _field(name: str, tags: Mapping[str, str], space: str) -> HeaderField:
    text = space + "; ".join(f"{tag}={value}" for tag, value in tags.items())
    return HeaderField(name.encode(), text.encode())


def _policy(tags: Mapping[str, str]) -> CanonicalizationPolicy:
    return CanonicalizationPolicy.from_c_value(tags.get("c", "relaxed/relaxed").encode())


def _canonical(form: str, fields: list[HeaderField]) -> bytes:
    """*fields* in canonical form, the last one without its line end."""
    policy = CanonicalizationPolicy.from_c_value(f"{form}/simple".encode())
    lines = policy.canonicalize_headers([(f.name, f.value + b"\r\n") for f in fields])
    return b"".join(name + b":" + value for name, value in lines).removesuffix(b"\r\n")


def _selected(fields: tuple[HeaderField, ...], tags: Mapping[str, str], own: HeaderField) -> bytes:
    """What a message signature covers: the named fields from below, each once, and itself."""
    left = list(fields)
    chosen = []
    for name in re.split(r"\s*:\s*", tags.get("h", "").lower()):
        found = next((f for f in reversed(left) if name and f.is_named(name.encode())), None)
        if found:
            left = [f for f in left if f is not found]
            chosen.append(found)
    return _canonical(tags.get("c", "relaxed/relaxed").partition("/")[0], [*chosen, own])


def _of_instance(fields: tuple[HeaderField, ...], name: str, instance: int) -> HeaderField | None:
    pattern = re.compile(rb"[\s;]?i\s*=\s*%d\b" % instance)
    return next((f for f in fields if f.is_named(name.lower().encode()) and pattern.search(f.value)), None)
