import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ed25519, rsa

from appliance.checks.keys import UnusableKey, likely_keys, usable_key
from appliance.checks.options import CheckOptions

ED25519 = base64.b64encode(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw())
OPTIONS = CheckOptions()


def der(key: rsa.RSAPublicKey | dsa.DSAPublicKey, *, bare: bool = False) -> bytes:
    form = serialization.PublicFormat.PKCS1 if bare else serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_bytes(serialization.Encoding.DER, form))


def rsa_of(modulus: int, exponent: int = 65537) -> bytes:
    """A key with numbers of our choice; nobody knows what signs for it."""

    def integer(number: int) -> bytes:
        octets = number.to_bytes(number.bit_length() // 8 + 1)
        return b"\x02" + der_length(len(octets)) + octets

    content = integer(modulus) + integer(exponent)
    return base64.b64encode(b"\x30" + der_length(len(content)) + content)


def der_length(length: int) -> bytes:
    if length < 128:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets)]) + octets


@pytest.fixture(scope="module")
def rsa_public() -> rsa.RSAPublicKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()


@pytest.mark.parametrize("bare", [False, True], ids=["SubjectPublicKeyInfo", "RSAPublicKey"])
def test_both_forms_of_an_rsa_key_are_read(rsa_public: rsa.RSAPublicKey, bare: bool) -> None:
    """DKIM-12."""
    key = usable_key(b"v=DKIM1; p=" + der(rsa_public, bare=bare), "rsa", OPTIONS)

    assert isinstance(key.public_key, rsa.RSAPublicKey)
    assert key.public_key.public_numbers() == rsa_public.public_numbers()


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(b"v=DKIM1; k=ed25519; p=%s", id="all tags"),
        pytest.param(b"k=ed25519;p=%s", id="no version"),
        pytest.param(b"v=DKIM1; k=ed25519; h=sha1:sha256; s=other:email; t=y:x; n=note; p=%s;", id="lists"),
        pytest.param(b"v=DKIM1; k=ed25519; g=old; s=*; p=%s", id="historic and unknown tags"),
    ],
)
def test_good_records(record: bytes) -> None:
    """DKIM-04, DKIM-12."""
    usable_key(record % ED25519, "ed25519", OPTIONS)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(b"v=DKIM1; p=", "key revoked", id="revoked"),
        pytest.param(b"v=DKIM2; k=ed25519; p=" + ED25519, "key record of another version", id="version"),
        pytest.param(
            b"k=ed25519; v=DKIM1; p=" + ED25519, "key record of another version", id="version not first"
        ),
        pytest.param(b"k=ed25519; h=sha1; p=" + ED25519, "key not for sha256", id="hash"),
        pytest.param(b"k=ed25519; s=tlsrpt; p=" + ED25519, "key not for mail", id="service"),
        pytest.param(b"k=ed448; p=" + ED25519, "key unusable", id="type"),
        pytest.param(b"k=ed25519; p=AAAA", "key unusable", id="length of Ed25519 key"),
        pytest.param(b"p=????", "key unusable", id="not base64"),
        pytest.param(b"p=" + ED25519, "key unusable", id="not DER"),
        pytest.param(b"k=ed25519; p=" + ED25519 + b"; p=x", "key record unparsable", id="tag twice"),
        pytest.param(b"k=ed25519; p=" + ED25519 + b" " * 8192, "key record too long", id="too long T10"),
    ],
)
def test_bad_records_are_told_apart(record: bytes, reason: str) -> None:
    """DKIM-12, DKIM-13."""
    with pytest.raises(UnusableKey, match=f"^{reason}$"):
        usable_key(record, "ed25519", OPTIONS)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        pytest.param(rsa_of((1 << 1022) + 1), "key shorter than 1024 bits", id="1023 bits DKIM-03"),
        pytest.param(rsa_of((1 << 511) + 1), "key (shorter than 1024 bits|unusable)", id="512 bits DKIM-03"),
        pytest.param(rsa_of((1 << 8192) + 1), "key longer than 8192 bits", id="8193 bits T10"),
        pytest.param(rsa_of((1 << 40000) + 1), "key (longer than 8192 bits|unusable)", id="40001 bits T10"),
        pytest.param(rsa_of((1 << 2047) + 1, (1 << 64) + 1), "key unusable", id="large exponent T10"),
        pytest.param(rsa_of((1 << 2047) + 1, 65536), "key unusable", id="even exponent T10"),
        pytest.param(rsa_of((1 << 2047) + 1, 1), "key unusable", id="exponent 1"),
    ],
)
def test_rsa_keys_out_of_bounds(octets: bytes, reason: str) -> None:
    with pytest.raises(UnusableKey, match=f"^{reason}$"):
        usable_key(b"p=" + octets, "rsa", OPTIONS)


@pytest.mark.parametrize(
    ("modulus_bits", "exponent", "reason"),
    [
        pytest.param(78_000, 65537, "key record too long", id="13 kB of record"),
        pytest.param(48_000, 65537, "key longer than 8192 bits", id="as long as fits into the record"),
        pytest.param(16_384, 65537, "key longer than 8192 bits", id="twice the limit"),
        pytest.param(8192, (1 << 34) + 1, "key unusable", id="exponent of 35 bits"),
        pytest.param(8192, (1 << 4000) + 1, "key unusable", id="exponent of 4000 bits"),
    ],
)
def test_t10_monster_keys_are_refused_before_any_arithmetic(
    modulus_bits: int, exponent: int, reason: str
) -> None:
    """There is no key to verify with afterwards, so nothing can have been computed with it."""
    record = b"v=DKIM1; k=rsa; p=" + rsa_of((1 << (modulus_bits - 1)) + 1, exponent)

    with pytest.raises(UnusableKey, match=f"^{reason}$"):
        usable_key(record, "rsa", OPTIONS)


@pytest.mark.parametrize("bits", [1024, 2048, 3072, 4096, 8192])
def test_dkim_03_rsa_keys_up_to_the_limit_are_taken(bits: int) -> None:
    key = usable_key(b"p=" + rsa_of((1 << (bits - 1)) + 1, (1 << 32) + 1), "rsa", OPTIONS)

    assert not key.verifies(b"\x01" * (bits // 8), b"data")


def test_a_key_of_another_kind_is_no_key(rsa_public: rsa.RSAPublicKey) -> None:
    another = dsa.generate_private_key(1024).public_key()

    for record, key_type, reason in (
        (b"p=" + der(rsa_public), "ed25519", "key of another type"),
        (b"k=ed25519; p=" + ED25519, "rsa", "key of another type"),
        (b"p=" + der(another), "rsa", "key unusable"),
    ):
        with pytest.raises(UnusableKey, match=reason):
            usable_key(record, key_type, OPTIONS)


def test_only_three_records_are_tried_and_none_that_holds_no_key() -> None:
    """DKIM-12."""
    keys = [b"p=" + letter for letter in (b"A", b"B", b"C", b"D")]

    assert likely_keys((b"v=spf1 ip4:192.0.2.1 -all", b"", *keys)) == tuple(keys[:3])


def test_flags_are_read() -> None:
    key = usable_key(b"k=ed25519; t=s:y; p=" + ED25519, "ed25519", OPTIONS)

    assert key.testing
    assert key.exact_identity


def test_a_signature_of_the_wrong_size_does_not_verify(rsa_public: rsa.RSAPublicKey) -> None:
    for record, key_type in ((b"p=" + der(rsa_public), "rsa"), (b"k=ed25519; p=" + ED25519, "ed25519")):
        key = usable_key(record, key_type, OPTIONS)

        assert not any(key.verifies(b"x" * size, b"data") for size in (1, 64, 128, 5000))
