"""What the acceptance tests share beside the gateway."""

import pytest

from appliance.lab.gateway import Gateway
from tests.system.behaviour.post import Owner, Post


@pytest.fixture(scope="module")
def post(gateway: Gateway) -> Post:
    return Post(gateway)


@pytest.fixture(scope="module")
def owner(gateway: Gateway) -> Owner:
    return Owner.of(gateway.zone)
