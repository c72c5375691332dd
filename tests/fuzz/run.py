"""Fuzz the parsers with Atheris: each harness in a process of its own, as many at a time as there are cores.

  python tests/fuzz/run.py all|NAME… [--seconds N]      fuzz each harness for N seconds (30)
  python tests/fuzz/run.py NAME --replay FILE…          run these inputs once, without Atheris

A harness is a module of tests/fuzz/targets with ``target(data)``; its seeds lie in tests/fuzz/seeds/NAME. A finding
is an input that raises anything, or that costs more than 250 ms of CPU time when it is run without Atheris. Findings,
logs and the corpus that grows from run to run lie in .cache/fuzz/NAME. Exit status 1 with findings.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FOLDER = Path(__file__).resolve().parent
CHECKOUT = FOLDER.parents[1]

_GRACE_SECONDS = 180  # to import, instrument and run the seeds
_LIBFUZZER = ("-max_len=65536", "-timeout=30", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1")
_RUNS = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_LOG_LINES = 25


@dataclass(frozen=True, slots=True)
class Places:
    """Where a harness and what belongs to it lie."""

    name: str
    targets: Path
    seeds: Path
    cache: Path

    @property
    def target(self) -> Path:
        return self.targets / f"{self.name}.py"

    @property
    def findings(self) -> Path:
        return self.cache / self.name / "findings"

    @property
    def corpus(self) -> Path:
        return self.cache / self.name / "corpus"

    @property
    def log(self) -> Path:
        return self.cache / self.name / "log"


def main() -> int:
    options = _options()
    known = sorted(file.stem for file in options.targets.glob("*.py"))
    names = known if options.names == ["all"] else options.names
    if unknown := sorted(set(names) - set(known)):
        print(f"no harness {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    places = [Places(name, options.targets, options.seeds, options.cache) for name in names]
    if options.replay:
        return _child(places[0], ["--replay", *map(str, options.replay)]).returncode
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is skipped: Atheris is not installed (pip install atheris; Linux on x86-64)")
        return 1 if os.environ.get("CI") == "true" else 0
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda place: _fuzz(place, options.seconds), places))
    return 1 if any(found) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME", help="harnesses, or all")
    add("--seconds", type=int, default=30, help="for each harness (%(default)s)")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="harnesses at a time (%(default)s)")
    add("--replay", type=Path, nargs="+", metavar="FILE")
    add("--targets", type=Path, default=FOLDER / "targets", help="folder of harnesses")
    add("--seeds", type=Path, default=FOLDER / "seeds", help="folder of their seeds")
    add("--cache", type=Path, default=CHECKOUT / ".cache" / "fuzz", help="folder of findings")
    return parser.parse_args()


def _fuzz(places: Places, seconds: int) -> bool:
    """Whether there are findings; they are printed with the way to see them again."""
    for folder in (places.findings, places.corpus, places.seeds / places.name):
        folder.mkdir(parents=True, exist_ok=True)
    for old in places.findings.iterdir():
        old.unlink()
    started = time.monotonic()
    status = _run(places, seconds)
    kept = sorted(places.findings.iterdir())
    found = [file for file in kept if not file.name.startswith("slow-")]
    found += [file for file in kept if file not in found and _is_slow(places, file)]
    text = places.log.read_text(encoding="utf-8", errors="replace")
    runs = _RUNS.search(text)
    failed = bool(found) or status != 0
    print(
        f"{places.name}: {runs[1] if runs else 'no'} runs in {time.monotonic() - started:.0f} s,"
        f" {'FINDINGS' if failed else 'nothing found'}",
        flush=True,
    )
    if failed:
        _explain(places, found, text)
    return failed


def _run(places: Places, seconds: int) -> int:
    options = [f"-max_total_time={seconds}", f"-artifact_prefix={places.findings}/", *_LIBFUZZER]
    folders = [str(places.corpus), str(places.seeds / places.name)]
    with places.log.open("wb") as output:
        try:
            return _child(
                places, [str(places.findings), *options, *folders], output, seconds + _GRACE_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            return 1


def _is_slow(places: Places, file: Path) -> bool:
    """Whether *file* is a finding without Atheris too; if not it goes."""
    if _child(places, ["--replay", str(file)], subprocess.DEVNULL).returncode != 0:
        return True
    file.unlink()
    return False


def _explain(places: Places, found: Sequence[Path], text: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith(("INFO:", "WARNING:", "#"))]
    print("\n".join(f"    {line}" for line in lines[:_LOG_LINES]))
    for file in found:
        print(f"    again: python {os.path.relpath(__file__)} {places.name} --replay {file}", flush=True)


def _child(
    places: Places, arguments: list[str], output: int | IO[bytes] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.child", str(places.target), *arguments],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        timeout=seconds,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())
