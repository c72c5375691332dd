"""Every seed of the fuzz harnesses goes through its target, without Atheris; among them is every finding so far."""

from pathlib import Path

import pytest

from tests.fuzz.child import load

FOLDER = Path(__file__).parent
TARGETS = sorted((FOLDER / "targets").glob("*.py"))
SEEDS = sorted(path for path in (FOLDER / "seeds").rglob("*") if path.is_file())


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"{seed.parent.name}-{seed.name}") for seed in SEEDS])
def test_no_seed_is_a_finding(seed: Path) -> None:
    harness = load(FOLDER / "targets" / f"{seed.parent.name}.py")

    harness.target(seed.read_bytes())


def test_every_harness_has_seeds_and_takes_an_empty_input() -> None:
    for file in TARGETS:
        load(file).target(b"")

    assert {seed.parent.name for seed in SEEDS} == {file.stem for file in TARGETS}
    assert len(TARGETS) == 10
