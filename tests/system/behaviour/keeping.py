"""Mail, events and report rows of several ages in a gateway that does its chores: what they leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import insert, literal, select, update

from appliance.lab.gateway import Gateway
from appliance.lab.samples import Fate
from appliance.lab.services import Command, Service, wait_for
from appliance.store import events
from appliance.store.schema import event, fact, published_policy, quarantine
from tests.system.behaviour.observing import put_in_force
from tests.system.behaviour.post import Letter, Owner, Post, Seen, mail, spoof

KEPT: Mapping[str, tuple[int, str]] = {
    "retention.events_days": (10, "event of 20 days ago"),
    "retention.events_percent": (1, "first of a crowd of events"),
    "retention.facts_days": (10, "report row of 20 days ago"),
    "retention.quarantine_days": (10, "held since 20 days"),
    "retention.quarantine_percent": (1, "3 MB held"),
}
"""Another value for each, and what it lets go that its default keeps."""

CROWD_DOUBLINGS = 13
ANCIENT_DAYS = 5000
"""Longer than anything may be kept."""


@dataclass
class Keeper:
    """A gateway on a small disk; mail, events and report rows of several ages are there when its chores are done."""

    gateway: Gateway
    post: Post
    owner: Owner
    base: Mapping[str, object]
    _seen: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)

    def left(self, changes: Mapping[str, object]) -> dict[str, str]:
        """What is left after the chores of a gateway with these settings."""
        if (names := tuple(changes)) not in self._seen:
            put_in_force(self.gateway, {**self.base, **changes})
            first, large, old, ancient = self._quarantined()
            if not changes or "retention.events_percent" in changes:
                self._multiply(first)
            self._age(old, 20)
            self._age(ancient, ANCIENT_DAYS)
            self._do_chores(ancient)
            self._seen[names] = {
                "event of 20 days ago": kept_or_gone(self._has_event(old)),
                "first of a crowd of events": kept_or_gone(self._has_event(first)),
                "report row of 20 days ago": kept_or_gone(self._has_rows(old)),
                "held since 20 days": kept_or_gone(self._has_file(old)),
                "3 MB held": kept_or_gone(self._has_file(large)),
            }
        return self._seen[names]

    def _quarantined(self) -> list[Seen]:
        tags = "p=quarantine; rua=mailto:r@owner.test"
        octets = mail(f"a@{self.owner.domain(tags)}", body="x\r\n" * 1_000_000)
        letters = (Letter(octets), *(spoof(self.owner.domain(tags)) for _ in range(2)))
        seen = [self.post.one(spoof(self.owner.domain(tags))), *self.post.send(*letters)]
        assert {one.fate for one in seen} == {Fate.QUARANTINED}
        return seen

    def _multiply(self, seen: Seen) -> None:
        """Some thousand more events like this one; they take more room than a hundredth of the disk."""
        columns = [column.name for column in event.columns if column.name != "id"]
        copy = f"x{id_of(seen)[1:]}"
        values = [event.c[name] if name != "event_id" else literal(copy) for name in columns]
        with self.gateway.store.begin() as connection:
            for of in (id_of(seen), *[copy] * CROWD_DOUBLINGS):
                copies = select(*values).where(event.c.event_id == of)
                connection.execute(insert(event).from_select(columns, copies))

    def _age(self, seen: Seen, days: int) -> None:
        """As if all this had happened *days* earlier."""
        seconds = days * 86_400
        policies = select(published_policy.c.key).where(published_policy.c.policy_domain == domain_of(seen))
        with self.gateway.store.begin() as connection:
            for statement in (
                update(event)
                .where(event.c.event_id == id_of(seen))
                .values(received_at=event.c.received_at - seconds * 1_000_000),
                update(quarantine)
                .where(quarantine.c.event_id == id_of(seen))
                .values(held_at=quarantine.c.held_at - seconds * 1_000_000),
                update(fact).where(fact.c.policy_key.in_(policies)).values(hour=fact.c.hour - seconds),
            ):
                assert connection.execute(statement).rowcount == 1

    def _do_chores(self, ancient: Seen) -> None:
        """Run the service until nothing ancient is left, and let it end what it is about."""
        command = Command(
            "reports", ("reports", "--config", str(self.gateway.node_file)), self.gateway.directory
        )
        service = Service(command, self.gateway.directory / "reports.log")
        try:
            wait_for(
                "the end of all that is ancient",
                lambda: not (self._has_event(ancient) or self._has_rows(ancient) or self._has_file(ancient)),
                service,
                seconds=30,
            )
        finally:
            service.stop()

    def _has_event(self, seen: Seen) -> bool:
        with self.gateway.store.read() as connection:
            return bool(events.find(connection, id_of(seen)))

    def _has_rows(self, seen: Seen) -> bool:
        policies = select(published_policy.c.key).where(published_policy.c.policy_domain == domain_of(seen))
        with self.gateway.store.read() as connection:
            return connection.scalar(select(fact.c.count).where(fact.c.policy_key.in_(policies))) is not None

    def _has_file(self, seen: Seen) -> bool:
        return any((self.gateway.directory / "quarantine").rglob(f"{id_of(seen)}.*"))


def id_of(seen: Seen) -> str:
    return seen.event.event_id


def domain_of(seen: Seen) -> str:
    return seen.event.policy_domain


def kept_or_gone(there: bool) -> str:
    return "kept" if there else "gone"
