"""The key that the explained messages are signed with."""

import pytest

from tests.checks.mails import SigningKey, new_rsa_key


@pytest.fixture(scope="session")
def rsa_key() -> SigningKey:
    return new_rsa_key()
