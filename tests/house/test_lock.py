"""What the image installs is pinned, with hashes, and in step with pyproject.toml."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).parents[2]
LOCK = CHECKOUT / "packer" / "payload" / "requirements.lock"
PINNED = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ;[^\\]*)? \\\n(?P<hashes>(?: {4}--hash=.*\n)*)", re.MULTILINE
)


def run_time_requirements() -> list[Requirement]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return [
        Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["postgresql"]
    ]


@pytest.mark.parametrize(
    "requirement", [pytest.param(each, id=each.name) for each in run_time_requirements()]
)
def test_a_requirement_is_pinned_to_a_version_it_allows(requirement: Requirement) -> None:
    pins = {match["name"]: match["version"] for match in PINNED.finditer(LOCK.read_text())}

    pinned = pins.get(canonicalize_name(requirement.name))

    assert pinned is not None, "not in the lock: run packer/payload/lock"
    assert requirement.specifier.contains(pinned), "run packer/payload/lock"


def test_every_pinned_package_carries_its_hashes() -> None:
    text = LOCK.read_text()
    packages = [line for line in text.splitlines() if re.match(r"\w", line)]

    pinned = list(PINNED.finditer(text))

    assert len(pinned) == len(packages)
    assert all("--hash=sha256:" in match["hashes"] for match in pinned)


def test_the_lock_names_no_package_index() -> None:
    assert "://" not in LOCK.read_text()
