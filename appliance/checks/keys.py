"""Public keys of signers, as published in the DNS (RFC 6376 section 3.6.1, RFC 8301, RFC 8463)."""

import hashlib
import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from appliance.checks.options import CheckOptions
from appliance.checks.tags import InvalidTags, parse_tags, without_white_space
from appliance.log import get_logger

MAX_RECORD_OCTETS = 8192  # T10: a key of more is an attack on whoever does arithmetic with it
MAX_EXPONENT_BITS = 33
MAX_RECORDS_TRIED = 3
_ED25519_OCTETS = 32

_KEY_TAG = re.compile(rb"(?:^|;)[ \t]*p[ \t]*=")
_PADDING = PKCS1v15()
_SHA256 = SHA256()

_log = get_logger()


class UnusableKey(Exception):
    """The record holds no key this signature can be checked with; the message is ours and short."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key record, parsed."""

    public_key: RSAPublicKey | Ed25519PublicKey
    testing: bool
    """``t=y``"""
    exact_identity: bool
    """``t=s``: the domain of ``i=`` must be the one of ``d=``, not one below it."""

    def verifies(self, signature: bytes, signed: bytes) -> bool:
        """Whether *signature* over *signed* is by this key; SHA-256 throughout."""
        try:
            if isinstance(self.public_key, RSAPublicKey):
                self.public_key.verify(signature, signed, _PADDING, _SHA256)
            else:
                self.public_key.verify(signature, hashlib.sha256(signed).digest())  # RFC 8463 section 3
        except InvalidSignature:
            return False
        except Exception:  # noqa: BLE001  what the library didn't foresee must not stop the mail
            _log.exception("signature_check_failed")
            return False
        return True


def likely_keys(records: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The TXT records worth trying, at most three (DKIM-12): a wildcard may add records that are no keys."""
    return tuple(record for record in records if _KEY_TAG.search(record))[:MAX_RECORDS_TRIED]


def usable_key(record: bytes, key_type: str, options: CheckOptions) -> KeyRecord:
    """The key in *record*; raises ``UnusableKey`` unless it is a *key_type* key of an accepted size."""
    key = _parse(record) if len(record) <= MAX_RECORD_OCTETS else "key record too long"
    if isinstance(key, str):
        raise UnusableKey(key)
    if isinstance(key.public_key, Ed25519PublicKey):
        if key_type != "ed25519":
            raise UnusableKey("key of another type")
        return key
    if key_type != "rsa":
        raise UnusableKey("key of another type")
    if key.public_key.key_size < options.min_rsa_bits:
        raise UnusableKey(f"key shorter than {options.min_rsa_bits} bits")
    if key.public_key.key_size > options.max_rsa_bits:
        raise UnusableKey(f"key longer than {options.max_rsa_bits} bits")
    return key


@lru_cache(maxsize=4096)
def _parse(record: bytes) -> KeyRecord | str:
    """The key record of at most ``MAX_RECORD_OCTETS``, or why it is none: both are remembered."""
    try:
        tags = parse_tags(record)
    except InvalidTags:
        return "key record unparsable"
    if problem := _unsuitable(tags):
        return problem
    try:
        octets = a2b_base64(without_white_space(tags[b"p"]), strict_mode=True)
        public_key = _load(tags.get(b"k", b"rsa"), octets)
    except (Base64Error, ValueError, UnsupportedAlgorithm):
        return "key unusable"
    if public_key is None:
        return "key unusable"
    flags = _list(tags.get(b"t", b""))
    return KeyRecord(public_key, testing=b"y" in flags, exact_identity=b"s" in flags)


def _unsuitable(tags: dict[bytes, bytes]) -> str:
    if b"v" in tags and (tags[b"v"] != b"DKIM1" or next(iter(tags)) != b"v"):
        return "key record of another version"
    if not tags.get(b"p"):
        return "key revoked"
    if b"sha256" not in _list(tags.get(b"h", b"sha256")):
        return "key not for sha256"
    if not {b"*", b"email"} & _list(tags.get(b"s", b"*")):
        return "key not for mail"
    return ""


def _load(key_type: bytes, octets: bytes) -> RSAPublicKey | Ed25519PublicKey | None:
    """``None`` for types we don't know and for RSA exponents that only serve to burn time (T10)."""
    if key_type == b"ed25519":
        return Ed25519PublicKey.from_public_bytes(octets) if len(octets) == _ED25519_OCTETS else None
    if key_type != b"rsa":
        return None
    key = load_der_public_key(octets)  # SubjectPublicKeyInfo or a bare RSAPublicKey
    if not isinstance(key, RSAPublicKey):
        return None
    exponent = key.public_numbers().e
    return key if exponent & 1 and exponent.bit_length() <= MAX_EXPONENT_BITS else None


def _list(value: bytes) -> set[bytes]:
    return set(without_white_space(value).split(b":"))
