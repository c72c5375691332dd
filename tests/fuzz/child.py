"""``python -m tests.fuzz.child TARGET FINDINGS [OPTION…]``: one harness under Atheris, with libFuzzer's options.

``python -m tests.fuzz.child TARGET --replay FILE…``: the inputs of FILEs once each, without Atheris.
"""

import hashlib
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from appliance import log

CPU_SECONDS = 0.250  # no input may cost more
MAX_SLOW = 5
"""Slow inputs kept for a closer look; under Atheris everything is slower, so they may turn out fast enough."""

INSTRUMENTED = ["appliance", "reporting"]
_CRITICAL = 50


def main() -> int:
    file, second, *rest = sys.argv[1:]
    if second == "--replay":
        return replay(load(Path(file)).target, list(map(Path, rest)))
    fuzz(Path(file), Path(second), rest)
    return 0


def load(file: Path) -> ModuleType:
    """The harness in *file*: a module with ``target`` and perhaps ``WORDS``: what its inputs are made of, between bars."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{file.stem}", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replay(target: Callable[[bytes], None], files: list[Path]) -> int:
    """Exit status 1 when one of *files* raises, or costs more than ``CPU_SECONDS`` three times out of three."""
    target(b"")  # what is made once isn't charged to the first input
    status = 0
    for file in files:
        data = file.read_bytes()
        seconds = min(cost(target, data) for _ in range(3))
        print(f"{file}: {len(data)} octets, {seconds * 1000:.1f} ms of CPU time")
        if seconds > CPU_SECONDS:
            status = 1
    return status


def cost(target: Callable[[bytes], None], data: bytes) -> float:
    started = time.process_time()
    target(data)
    return time.process_time() - started


def fuzz(file: Path, findings: Path, options: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    log.configure(level=_CRITICAL)  # what is logged is no finding, and there is much of it
    with atheris.instrument_imports(include=INSTRUMENTED):
        module = load(file)
    if words := getattr(module, "WORDS", ""):
        dictionary = findings.parent / "dictionary"
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in words.split("|")), encoding="ascii")
        options = [f"-dict={dictionary}", *options]
    atheris.Setup([sys.argv[0], *options], _Watched(module.target, findings).run)
    atheris.Fuzz()


def _escaped(token: str) -> str:
    """As libFuzzer's dictionaries write it."""
    return "".join(f"\\x{octet:02x}" for octet in token.encode())


class _Watched:
    """A target whose slow and failing inputs are kept; libFuzzer itself keeps no input that fails at the start."""

    def __init__(self, target: Callable[[bytes], None], findings: Path) -> None:
        self._target = target
        self._findings = findings
        self._slow = 0

    def run(self, data: bytes) -> None:
        try:
            seconds = cost(self._target, data)
        except Exception:
            self._keep("crash", data)
            raise
        if seconds > CPU_SECONDS and self._slow < MAX_SLOW:
            self._slow += 1
            self._keep("slow", data)

    def _keep(self, kind: str, data: bytes) -> None:
        """Under the name that libFuzzer would give it."""
        (self._findings / f"{kind}-{hashlib.sha1(data).hexdigest()}").write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
