"""The runner finds what is planted, says how to see it again, and finds nothing where nothing is."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import cannot_run

RUNNER = Path(__file__).with_name("run.py")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the runner over harnesses below *tmp_path*."""
    (tmp_path / "targets").mkdir()
    folders = [f"--{name}={tmp_path / name}" for name in ("targets", "seeds", "cache")]

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(RUNNER), *arguments, *folders],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return start


def plant(folder: Path, name: str, code: str, seed: bytes) -> None:
    (folder / "targets" / f"{name}.py").write_text(f"import time\n\ndef target(data):\n    {code}\n")
    (folder / "seeds" / name).mkdir(parents=True)
    (folder / "seeds" / name / "seed").write_bytes(seed)


@pytest.fixture
def _requires_atheris() -> None:
    if importlib.util.find_spec("atheris") is None:
        cannot_run("atheris is missing: pip install atheris")


@pytest.mark.system
@pytest.mark.usefixtures("_requires_atheris")
def test_an_exception_is_a_finding_that_can_be_seen_again(run: Run, tmp_path: Path) -> None:
    plant(tmp_path, "fragile", "assert not data.startswith(b'boom')", b"boom!")

    finished = run("fragile", "--seconds", "5")

    assert finished.returncode == 1
    assert finished.stdout.splitlines()[0].endswith("FINDINGS")
    assert "AssertionError" in finished.stdout
    [finding] = (tmp_path / "cache" / "fragile" / "findings").iterdir()
    assert f"fragile --replay {finding}" in finished.stdout
    assert finding.read_bytes().startswith(b"boom")
    assert run("fragile", "--replay", str(finding)).returncode != 0


@pytest.mark.system
@pytest.mark.usefixtures("_requires_atheris")
def test_a_slow_input_is_a_finding_and_a_fast_harness_has_none(run: Run, tmp_path: Path) -> None:
    burn = (
        "end = time.process_time() + 0.3\n    while data[:4] == b'slow' and time.process_time() < end: pass"
    )
    plant(tmp_path, "slow", burn, b"slow")
    plant(tmp_path, "steady", "len(data)", b"seed")

    finished = run("all", "--seconds", "3")

    assert finished.returncode == 1
    assert "FINDINGS" in next(line for line in finished.stdout.splitlines() if line.startswith("slow:"))
    assert all(file.name.startswith("slow-") for file in (tmp_path / "cache" / "slow" / "findings").iterdir())
    assert "nothing found" in next(
        line for line in finished.stdout.splitlines() if line.startswith("steady:")
    )


def test_an_unknown_harness_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    plant(tmp_path, "known", "pass", b"")

    finished = run("unknown")

    assert finished.returncode == 2
    assert finished.stderr == "no harness unknown; there are known\n"


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_without_atheris_fuzzing_is_skipped_but_not_in_ci(
    run: Run, tmp_path: Path, ci: str, status: int
) -> None:
    plant(tmp_path, "known", "pass", b"")
    without = tmp_path / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text("import sys\nsys.modules['atheris'] = None\n")

    finished = subprocess.run(
        [sys.executable, str(RUNNER), "known", f"--targets={tmp_path / 'targets'}"],
        env=os.environ | {"CI": ci, "PYTHONPATH": str(without)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == status
    assert "Atheris is not installed" in finished.stdout
