"""Environments of other programs' versions, made once by pip and kept for the next run of the tests."""

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.conftest import cannot_run

INSTALL_SECONDS = 280


def python_with(requirement: str) -> Path:
    """The Python of an environment with *requirement* (``name==version``) and nothing of ours.

    Where it can't be made, as without a network, the test fails in CI and is skipped anywhere else.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dmarcgate-tests"
    name = f"{requirement.replace('==', '-')}-py{sys.version_info.major}.{sys.version_info.minor}"
    folder, python = cache / name, cache / name / "bin" / "python"
    made = folder / "complete"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes run side by side
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            _install(python, requirement)
            made.touch()
    return python


def _install(python: Path, requirement: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        cannot_run(f"{requirement} could not be installed by pip in {INSTALL_SECONDS} s")
    if done.returncode:
        last = (done.stderr.strip() or "no reason given").splitlines()[-1]
        cannot_run(f"{requirement} could not be installed by pip: {last}")
