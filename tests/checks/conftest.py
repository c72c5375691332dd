"""Keys, signed messages and zones for the checks."""

import base64
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.checks.mails import SigningKey
from tests.nameserver import NameServer, running


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return SigningKey(pem, b"v=DKIM1; k=rsa; p=" + base64.b64encode(der))


@pytest.fixture
def server() -> Iterator[NameServer]:
    with running() as server:
        yield server
