"""Failures of a domain that asks for failure reports, and the mails about them that leave."""

from itertools import count, islice

from appliance.lab.gateway import Gateway
from appliance.lab.mailbox import DeliveredMessage
from appliance.lab.services import wait_for
from appliance.store import failures
from reporting.failure_jobs import send_failures
from tests.system.behaviour.observing import fresh
from tests.system.behaviour.post import Letter, Post, mail

_clients = (f"198.51.100.{number}" for number in count(100))


def failure_mails(gateway: Gateway, post: Post, *, messages: int = 1) -> tuple[str, list[DeliveredMessage]]:
    """A new domain, and what it gets about so many forgeries, each from another client."""
    domain = fresh("f")
    gateway.zone.txt(f"_dmarc.{domain}", f"v=DMARC1; p=none; ruf=mailto:f@{domain}")
    post.send(*(Letter(mail(f"admin@{domain}"), client_ip=client) for client in islice(_clients, messages)))
    listener = ("127.0.0.1", gateway.postfix.config.report_port)
    send_failures(gateway.store, nameserver=gateway.nameserver.address, listener=listener)
    with gateway.store.read() as connection:
        rows = [row for row in failures.recent(connection, 1000) if row.policy_domain == domain]
    expected = sum(copy.outcome == "accepted" for row in rows for copy in row.copies.values())

    def arrived() -> list[DeliveredMessage]:
        return [one for one in gateway.outside.messages() if one.recipient == f"f@{domain}"]

    wait_for("the failure reports", lambda: len(arrived()) >= expected, seconds=30)
    wait_for("an empty queue", lambda: gateway.postfix.queue_length() == 0, seconds=60)
    return domain, arrived()
