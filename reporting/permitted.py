"""Who of those that agreed to get reports gets one from us: nobody of our own, and no dead address."""

from datetime import datetime

from appliance.store import suppression
from appliance.store.engine import Store
from reporting.destinations import Destinations
from reporting.gate import ReportGate
from reporting.mailto import MailAddress


def permitted(
    store: Store, gate: ReportGate, destinations: Destinations, now: datetime
) -> tuple[list[MailAddress], list[str]]:
    """The addresses that are left, and why others get nothing."""
    left, refused = [], list(destinations.refused)
    with store.read() as connection:
        for address in destinations.addresses:
            if gate.is_own(address.domain):
                refused.append(f"{address.domain} is our own domain")
            elif (dead := suppression.find(connection, str(address), now)) is not None:
                until = f" until {dead.until:%Y-%m-%d}" if dead.until is not None else ""
                refused.append(f"an address at {address.domain} is on the suppression list{until}")
            else:
                left.append(address)
    return left, refused
