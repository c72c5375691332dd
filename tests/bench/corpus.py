"""The benchmark's corpus: messages of many sizes, most of them signed, and the zone that vouches for them."""

import base64
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_IP = "192.0.2.10"
RECIPIENT = "someone@receiver.example"

BIG_OCTETS = 5_000_000
_EDITION = 1  # a corpus made by an older edition of this module is made anew
_KEYS = 8
_SIZES = (
    (0.70, 3_000),
    (0.90, 20_000),
    (0.99, 100_000),
    (1.0, 1_000_000),
)  # up to this share: octets of text
_POLICIES = ("none", "quarantine", "reject")
_SIGNED_FIELDS = [b"from", b"to", b"subject", b"date", b"message-id"]


class Kind(StrEnum):
    """What a filter should find, if it checks everything."""

    SIGNED = "signed"
    """Passes by DKIM and by SPF: four of five."""
    UNSIGNED = "unsigned"
    """Passes by SPF alone: one of ten."""
    MISALIGNED = "misaligned"
    """Unsigned, and SPF passes for another domain: fails; one of ten."""

    @property
    def dmarc(self) -> str:
        return "fail" if self is Kind.MISALIGNED else "pass"

    @property
    def dkim(self) -> str | None:
        return "pass" if self is Kind.SIGNED else None


@dataclass(frozen=True, slots=True)
class Mail:
    """One message of the corpus and its envelope."""

    file: str
    kind: Kind
    mail_from: str
    helo: str
    octets: int


@dataclass(frozen=True, slots=True)
class Corpus:
    folder: Path
    mails: tuple[Mail, ...]
    big: Mail
    """One signed message of 5 MB, outside the mix."""

    @property
    def zone_file(self) -> Path:
        return self.folder / "zone.txt"

    @property
    def average_octets(self) -> int:
        return sum(mail.octets for mail in self.mails) // len(self.mails)

    def read(self, mail: Mail) -> bytes:
        return (self.folder / mail.file).read_bytes()


def corpus(cache: Path, *, messages: int, domains: int = 200, seed: int = 1) -> Corpus:
    """The corpus of these parameters below the folder *cache*; made when it isn't there yet."""
    folder = cache / f"corpus-{_EDITION}-{messages}-{domains}-{seed}"
    index = folder / "mails.json"
    if not index.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _Maker(folder, random.Random(seed), domains).make(messages, index)
    *mails, big = (
        Mail(**{**row, "kind": Kind(row["kind"])}) for row in json.loads(index.read_text(encoding="utf-8"))
    )
    return Corpus(folder, tuple(mails), big)


class _Maker:
    def __init__(self, folder: Path, rng: random.Random, domains: int) -> None:
        self._folder = folder
        self._rng = rng
        self._domains = domains
        self._keys = [
            rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(min(_KEYS, domains))
        ]
        self._words = [
            "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(3000)
        ]

    def make(self, messages: int, index: Path) -> None:
        """Write everything; *index* last, so that a corpus that was left half made isn't taken for one."""
        mails = [self._mail(number, self._size()) for number in range(messages)]
        mails.append(self._mail(0, BIG_OCTETS, file="big.eml"))
        (self._folder / "zone.txt").write_text(self._zone(), encoding="ascii")
        index.write_text(json.dumps([asdict(mail) for mail in mails]), encoding="utf-8")

    def _mail(self, number: int, size: int, file: str = "") -> Mail:
        domain = self._rng.randrange(self._domains)
        name = f"d{domain}.example"
        kind = {4: Kind.UNSIGNED, 9: Kind.MISALIGNED}.get(number % 10, Kind.SIGNED)
        octets = self._header(number, name) + b"\r\n" + self._text(size)
        if kind is Kind.SIGNED:
            octets = self._signature(octets, domain) + octets
        mail_from = f"user{number}@{name}"
        if kind is Kind.MISALIGNED:
            mail_from = f"bounce@d{(domain + 1) % self._domains}.example"
        mail = Mail(file or f"{number:04d}.eml", kind, mail_from, f"mx.{name}", len(octets))
        (self._folder / mail.file).write_bytes(octets)
        return mail

    def _size(self) -> int:
        share = self._rng.random()
        return next(size for up_to, size in _SIZES if share < up_to)

    def _header(self, number: int, name: str) -> bytes:
        lines = [
            f"From: Sender {number} <user{number}@{name}>",
            f"To: {RECIPIENT}",
            f"Subject: benchmark message number {number}",
            "Date: Mon, 23 Nov 2026 11:00:00 +0000",
            f"Message-ID: <{number}.bench@{name}>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
        ]
        lines += [
            f"Received: from host{hop}.{name} (host{hop}.{name} [198.51.100.{hop}])\r\n"
            f"\tby relay{hop}.{name} with ESMTPS id {number:x}{hop:x};\r\n"
            f"\tMon, 23 Nov 2026 10:5{hop}:00 +0000"
            for hop in range(5)
        ]
        return "".join(f"{line}\r\n" for line in lines).encode("ascii")

    def _text(self, size: int) -> bytes:
        lines: list[str] = []
        octets = 0
        while octets < size:
            line = " ".join(self._rng.choices(self._words, k=self._rng.randint(6, 12)))
            if self._rng.random() < 0.05:
                line += "  \t "
            lines.append(line)
            octets += len(line) + 2
        return "".join(f"{line}\r\n" for line in lines).encode("ascii")

    def _signature(self, octets: bytes, domain: int) -> bytes:
        private = self._keys[domain % len(self._keys)].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        signature: bytes = dkim.sign(
            octets,
            b"s1",
            f"d{domain}.example".encode(),
            private,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=_SIGNED_FIELDS,
        )
        return signature

    def _zone(self) -> str:
        records = [
            "$ORIGIN .",
            "$TTL 3600",
            "example. SOA ns.example. root.example. 1 3600 600 86400 3600",
            "example. NS ns.example.",
            "ns.example. A 127.0.0.1",
        ]
        for domain in range(self._domains):
            records += self._records(f"d{domain}.example", domain)
        return "".join(f"{record}\n" for record in records)

    def _records(self, name: str, domain: int) -> Sequence[str]:
        public = self._keys[domain % len(self._keys)].public_key()
        der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        policy = _POLICIES[domain % len(_POLICIES)]
        reports = f"rua=mailto:rua@{name}; ruf=mailto:ruf@{name}; fo=1"
        return (
            f"{name}. A {CLIENT_IP}",
            f"{name}. MX 10 mx.{name}.",
            f"mx.{name}. A {CLIENT_IP}",
            f"{name}. TXT {_quoted(f'v=spf1 a mx include:_spf.{name} -all')}",
            f"_spf.{name}. TXT {_quoted(f'v=spf1 ip4:198.51.100.0/24 ip4:{CLIENT_IP} ~all')}",
            f"s1._domainkey.{name}. TXT {_quoted('v=DKIM1; k=rsa; p=' + base64.b64encode(der).decode())}",
            f"_dmarc.{name}. TXT {_quoted(f'v=DMARC1; p={policy}; {reports}')}",
        )


def _quoted(text: str) -> str:
    """*text* as character-strings of a master file."""
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))
