"""Shell completion, asked of a real bash."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.settings.lists import LISTS
from tests.cli.commands import Gate

Complete = Callable[..., list[str]]

SCRIPT = """
eval "$(dmarcgate completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_dmarcgate_completion dmarcgate
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def complete(tmp_path: Path, requires: Callable[[str], Path]) -> Complete:
    """What bash offers for the last of the words."""
    program = tmp_path / "dmarcgate"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m appliance "$@"\n')
    program.chmod(0o755)
    bash = requires("bash")

    def offered(*words: str) -> list[str]:
        done = subprocess.run(
            [bash, "--norc", "-c", SCRIPT, "bash", "dmarcgate", *words],
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()

    return offered


def test_bash_completes_nouns_verbs_and_lists(complete: Complete) -> None:
    assert complete("setti") == ["settings"]
    assert complete("list", "") == sorted(LISTS)
    assert complete("list", "known-hosts", "") == ["add", "export", "import", "remove", "show"]
    assert complete("list", "domains", "import", "--o") == ["--overwrite"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(
            ["get", "verification.x"], ["verification.x_header", "verification.x_header_name"], id="get"
        ),
        pytest.param(
            ["set", "verification.mod"],
            ["verification.mode=monitor", "verification.mode=enforce"],
            id="name-and-values",
        ),
        pytest.param(["set", "reports.org"], ["reports.organization="], id="name-of-any-value"),
        pytest.param(["set", "verification.mode", "="], ["monitor", "enforce"], id="values"),
        pytest.param(["set", "verification.mode", "=", "e"], ["enforce"], id="value-begun"),
        pytest.param(
            ["set", "verification.mode", "=", "enforce", "verification.en"],
            [
                "verification.enabled=true",
                "verification.enabled=false",
                "verification.engine_failure=defer",
                "verification.engine_failure=deliver",
            ],
            id="second-assignment",
        ),
    ],
)
def test_bash_completes_names_and_values_of_settings(
    complete: Complete, words: list[str], offered: list[str]
) -> None:
    assert complete("settings", *words) == offered


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_a_script_is_printed_for_each_shell(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "completion", shell], capture_output=True, text=True, check=True
    )

    assert "_DMARCGATE_COMPLETE" in done.stdout


def test_another_shell_is_refused(gate: Gate) -> None:
    assert gate("completion", "tcsh").status == 2
