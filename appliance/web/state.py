"""What the pages share in one request: the store, the clock, who asks, and the settings in force."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from flask import current_app, g

from appliance.store import settings as store_settings
from appliance.store.accounts import Account
from appliance.store.engine import Store
from appliance.store.settings import Revision

EXTENSION = "dmarcgate"


@dataclass(frozen=True, slots=True)
class Shared:
    """What outlives a request."""

    store: Store
    clock: Callable[[], datetime]


def shared() -> Shared:
    return cast("Shared", current_app.extensions[EXTENSION])


def store() -> Store:
    return shared().store


def now() -> datetime:
    return shared().clock()


def account() -> Account | None:
    """Who is signed in."""
    return cast("Account | None", g.get("account"))


def revision() -> Revision:
    """The settings in force, read once a request."""
    if "revision" not in g:
        with store().read() as connection:
            g.revision = store_settings.current(connection)
    return cast("Revision", g.revision)
