"""A month of a gateway's events, as rows of the store: what the search is measured on."""

import json
import random
import zlib
from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from appliance.store.documents import authentication_document, envelope_document
from appliance.store.schema import event
from appliance.store.values import to_json, to_micros
from tests.store.samples import AUTHENTICATION, ENVELOPE

COLUMNS = tuple(column.name for column in event.columns)
END = datetime(2026, 3, 31, tzinfo=UTC)
DAYS = 30

BUSY_DOMAIN = "gmail.com"  # a fifth of all mail
BUSY_RECIPIENT = "sales@inside.example"  # a tenth
RARE_REJECTS = 3  # of the busy domain
TWO_RECIPIENTS = 0.15
NULL_SENDERS = 0.03

_ANSWERS = 450  # octets, compressed
_RESULTS = {"pass": 0.80, "none": 0.12, "fail": 0.07, "temperror": 0.002, "": 0.008}
_FAILED = {"deliver": 0.4, "quarantine": 0.35, "reject": 0.25}


class History:
    """*events* rows, oldest first, the same at every call; what is rare in them is known."""

    def __init__(self, events: int) -> None:
        self.events = events
        self._rejects = {events * place // (RARE_REJECTS + 1) for place in range(1, RARE_REJECTS + 1)}
        self.only_permerror = events // 2 + 7
        self._domains = [BUSY_DOMAIN, *(f"mail{number}.example" for number in range(max(20, events // 25)))]
        weights = [0.2, *(0.8 / (number + 8) for number in range(1, len(self._domains)))]
        others = 0.8 / sum(weights[1:])
        self._weights = list(accumulate([0.2, *(weight * others for weight in weights[1:])]))
        self._recipients = [f"user{number}@inside.example" for number in range(max(20, events // 1000))]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        chance = random.Random(1)
        answers = [zlib.compress(chance.randbytes(_ANSWERS), 1) for _ in range(64)]
        step = timedelta(days=DAYS) / self.events
        results, shares = list(_RESULTS), list(accumulate(_RESULTS.values()))
        outcomes, failed = list(_FAILED), list(accumulate(_FAILED.values()))
        document = _Document()
        for number in range(self.events):
            at = to_micros(END - step * (self.events - number)) + chance.randrange(2_000_000)
            domain = self._domains[min(bisect(self._weights, chance.random()), len(self._domains) - 1)]
            result = results[min(bisect(shares, chance.random()), len(results) - 1)]
            outcome = "deliver"
            if result == "fail" and domain != BUSY_DOMAIN:
                outcome = outcomes[min(bisect(failed, chance.random()), len(outcomes) - 1)]
            if number in self._rejects:
                domain, result, outcome = BUSY_DOMAIN, "fail", "reject"
            if number == self.only_permerror:
                result = "permerror"
            sender = self.sender(number, domain, chance)
            recipients = self._some_recipients(chance)
            ip = self.client_ip(domain, chance)
            yield (
                number + 1,
                self.event_id(number),
                "gateway.example",
                3,
                at,
                self.queue_id(number),
                domain,
                result,
                "reject",
                domain,
                "none" if outcome == "deliver" else outcome,
                outcome,
                "pass",
                "",
                ip,
                sender,
                f"Sender <{sender}>",
                self.message_id(number),
                "Minutes of the meeting",
                20_000,
                document.of(at, ip, sender, recipients),
                answers[number % 64],
            )

    def event_id(self, number: int) -> str:
        return f"{number * 0x9E3779B97F4A7C15 % 2**48:012x}"

    def queue_id(self, number: int) -> str:
        return f"4ZqK{number:011d}"

    def message_id(self, number: int) -> str:
        return f"<{number * 0x9E3779B97F4A7C15 % 2**64:016x}.{number}@mail.example>"

    def sender(self, number: int, domain: str, chance: random.Random) -> str:
        drawn = chance.random()
        if drawn < NULL_SENDERS:
            return ""
        return f"bounce+{number}@{domain}" if drawn < 0.5 else f"writer{int(drawn * 1e6) % 5000}@{domain}"

    def client_ip(self, domain: str, chance: random.Random) -> str:
        if domain == BUSY_DOMAIN:
            return f"209.85.{chance.randrange(2)}.{chance.randrange(256)}"
        network = hash_of(domain)
        return f"{11 + network % 160}.{network // 160 % 256}.{network // 40_960 % 256}.{chance.randrange(8)}"

    def _some_recipients(self, chance: random.Random) -> list[str]:
        first = BUSY_RECIPIENT if chance.random() < 0.1 else chance.choice(self._recipients)
        return [first, chance.choice(self._recipients)] if chance.random() < TWO_RECIPIENTS else [first]


def hash_of(domain: str) -> int:
    return int.from_bytes(domain.encode()[-16:], "big") * 0x9E3779B97F4A7C15 >> 7 & 0xFFFFFFFF


class _Document:
    """An event's document, made from a sample by putting in what differs: quick."""

    def __init__(self) -> None:
        envelope = envelope_document(ENVELOPE) | {"at": "@at", "ip": "@ip", "from": "@from", "to": "@to"}
        self._sample = to_json(
            {
                "envelope": envelope,
                "authentication": authentication_document(AUTHENTICATION),
                "published": "v=DMARC1; p=reject; rua=mailto:r@sender.example",
            }
        )

    def of(self, at: int, ip: str, sender: str, recipients: Sequence[str]) -> str:
        made = self._sample
        for name, value in ("@at", at), ("@ip", ip), ("@from", sender), ("@to", [[r] for r in recipients]):
            made = made.replace(f'"{name}"', json.dumps(value), 1)
        return made
