"""The RFC 7208 test suite, out of pyspf's source distribution: fetched once, checked, and kept in ``.cache``."""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from appliance.lab.nameserver import Behaviour, Zone

VERSION = "2.0.14"
SHA256 = "57a7ef01bda090173aafb6af0106251686ed73f03db4e911fcd34c57fc347186"
NAME = f"pyspf-{VERSION}.tar.gz"
MEMBER = f"pyspf-{VERSION}/test/rfc7208-tests.yml"
CACHE = Path(__file__).parents[3] / ".cache" / "suites"

ASKED_TYPES = ("A", "AAAA", "MX", "PTR", "TXT")
NO_EXPLANATION = "DEFAULT"
"""How the suite writes that the receiver's own explanation would be used."""


class SuiteUnavailable(Exception):
    """The source distribution can't be had; the message says why."""


@dataclass(frozen=True)
class Case:
    name: str
    client: str
    helo: str
    mail_from: str
    results: tuple[str, ...]
    """Those that the RFC allows."""
    explanation: str | None
    """``DEFAULT`` for none; ``None`` when the case doesn't look at it."""


@dataclass(frozen=True)
class Scenario:
    description: str
    zone_data: Mapping[str, list[Any]]
    cases: tuple[Case, ...]

    def zone(self, trouble: Behaviour) -> Zone:
        """What the scenario publishes; the suite's timeouts become *trouble*."""
        zone = Zone()
        for name, entries in self.zone_data.items():
            publish(zone, name, entries, trouble)
        return zone


@cache
def scenarios() -> Mapping[str, Scenario]:
    """By description; raises ``SuiteUnavailable``."""
    with tarfile.open(source_distribution()) as archive:
        member = archive.extractfile(MEMBER)
        assert member
        documents = [document for document in yaml.safe_load_all(member.read()) if document]
    return {
        document["description"]: Scenario(
            document["description"], document["zonedata"], tuple(cases(document["tests"]))
        )
        for document in documents
    }


def source_distribution() -> Path:
    """The archive, fetched if it isn't there; raises ``SuiteUnavailable`` unless it is the one we know."""
    kept = CACHE / NAME
    if not kept.exists():
        fetch(kept)
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    if digest != SHA256:
        raise SuiteUnavailable(f"{kept} has the SHA-256 {digest}, not {SHA256}: remove it")
    return kept


def fetch(kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        # Only pyspf itself has to come as source; to look into it, pip fetches its build tools as wheels.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary", "pyspf", "--dest", folder, f"pyspf=={VERSION}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise SuiteUnavailable(f"pip could not download the source distribution of pyspf: {reason}")
        (Path(folder) / NAME).replace(kept)  # at once, should several runs share the checkout


def cases(tests: Mapping[str, Mapping[str, Any]]) -> Iterator[Case]:
    for name, test in tests.items():
        results = test["result"]
        yield Case(
            name,
            test["host"],
            test["helo"] or "",
            test["mailfrom"] or "",
            (results,) if isinstance(results, str) else tuple(results),
            test.get("explanation"),
        )


def publish(zone: Zone, name: str, entries: list[Any], trouble: Behaviour) -> None:
    """The suite's notation: type and value; ``TIMEOUT`` for the types it doesn't name; SPF stands for TXT as well.

    ``TXT: NONE`` keeps it from standing for TXT.
    """
    values: dict[str, list[str]] = {}
    fails = False
    for entry in entries:
        if entry == "TIMEOUT":
            fails = True
            continue
        for record_type, value in entry.items():
            values.setdefault(record_type, []).append(in_master_file(record_type, value))
    if "SPF" in values and "TXT" not in values:
        values["TXT"] = values["SPF"]
    if values.get("TXT") == [in_master_file("TXT", "NONE")]:
        del values["TXT"]
    for record_type, texts in values.items():
        zone.set(name, record_type, *texts)
    if fails:
        for record_type in set(ASKED_TYPES) - set(values):
            zone.misbehave(name, trouble, record_type)


def in_master_file(record_type: str, value: Any) -> str:
    match record_type:
        case "TXT" | "SPF":
            parts = [value] if isinstance(value, str) else value
            return " ".join(quoted(part) for part in parts or [""])
        case "MX":
            preference, host = value
            return f"{preference} {absolute(host)}"
        case "PTR" | "CNAME":
            return absolute(value)
        case _:
            return str(value)


def quoted(text: str) -> str:
    escaped = "".join(
        chr(octet) if 0x20 <= octet < 0x7F and chr(octet) not in '"\\' else f"\\{octet:03d}"
        for octet in text.encode()
    )
    return f'"{escaped}"'


def absolute(name: str) -> str:
    return name.removesuffix(".") + "."
