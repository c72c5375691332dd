"""A key record: a key of an accepted size, or a reason in our words; and whatever the key, a wrong signature is wrong."""

from appliance.checks.keys import UnusableKey, likely_keys, usable_key
from appliance.checks.options import CheckOptions
from tests.fuzz.material import in_our_words

WORDS = "v=DKIM1;|k=rsa;|k=ed25519;|h=sha256;|s=email;|t=y:s;|n=|p=|MIIBIjAN|AQAB"

_OPTIONS = CheckOptions()
_SIGNATURES = (b"", b"\1", bytes(64), bytes(256), b"\xff" * 256)


def target(data: bytes) -> None:
    assert len(likely_keys(tuple(data.split(b"\n")))) <= 3
    for key_type in ("rsa", "ed25519"):
        try:
            key = usable_key(data, key_type, _OPTIONS)
        except UnusableKey as unusable:
            in_our_words(unusable)
            continue
        for signature in _SIGNATURES:
            assert not key.verifies(signature, b"signed")
