"""SPF results of earlier messages, for as long as the DNS says the same: a check costs a tenth of itself then."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from appliance.checks.spf import SpfOutcome, spf_identity
from appliance.mail.authentication import SpfResult, SpfScope
from appliance.mail.message import IPAddress
from appliance.resolver import Answer, Question

MAX_ENTRIES = 4096
MAX_OCTETS = 2048  # of names and records behind one result; with the entries it bounds what all may take

Key = tuple[IPAddress, SpfScope, str]


@dataclass(frozen=True, slots=True)
class Remembered:
    """One result, and what it came from."""

    result: SpfResult
    used: Mapping[Question, Answer]
    """In the order of their first use."""
    asked: tuple[Question, ...]
    """All that was asked for: a message that gets the result from here is charged the same questions."""

    def holds(self, find: Callable[[Question], Answer | None]) -> bool:
        """Whether everything the result came from can be found, and says what it said."""
        return all(_says_the_same(find(question), answer) for question, answer in self.used.items())


class SpfMemory:
    """Belongs to one resolver; whatever that one doesn't have in its cache is not remembered here either.

    A result depends on the client, the domain, the scope and the answers, unless a macro brought in more
    (``SpfOutcome.shareable``). So there is no clock here: a changed record is noticed because its answer is another.
    """

    def __init__(self, cached: Callable[[Question], Answer | None], *, entries: int = MAX_ENTRIES) -> None:
        """*cached* is the resolver's."""
        self._cached = cached
        self._entries = entries
        self._known: OrderedDict[Key, Remembered] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def recall(self, client_ip: IPAddress | None, helo: str, mail_from: str) -> Remembered | None:
        """What is known of this check, if all that it came from is in the resolver's cache, unchanged."""
        if client_ip is None:
            return None
        key = _key(client_ip, helo, mail_from)
        remembered = self._known.get(key)
        if remembered is None or not remembered.holds(self._cached):
            return None
        self._known.move_to_end(key)
        return remembered

    def keep(
        self,
        client_ip: IPAddress | None,
        helo: str,
        mail_from: str,
        outcome: SpfOutcome,
        asked: Iterable[Question],
    ) -> None:
        """Remember *outcome* if others may share it, and it isn't out of proportion."""
        if client_ip is None or not outcome.shareable or _octets(outcome.used) > MAX_OCTETS:
            return
        asked = tuple(dict.fromkeys((*asked, *outcome.used)))
        key = _key(client_ip, helo, mail_from)
        self._known[key] = Remembered(outcome.result, outcome.used, asked)
        self._known.move_to_end(key)
        if len(self._known) > self._entries:
            self._known.popitem(last=False)


def _key(client_ip: IPAddress, helo: str, mail_from: str) -> Key:
    identity = spf_identity(helo, mail_from)
    return client_ip, identity.scope, identity.domain


def _says_the_same(now: Answer | None, then: Answer) -> bool:
    if now is then:
        return True
    return now is not None and now.status is then.status and now.records == then.records


def _octets(used: Mapping[Question, Answer]) -> int:
    return sum(len(question.name) + sum(map(len, answer.records)) for question, answer in used.items())
