"""Rules for files that no other tool reads for us: templates and shell scripts."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FOREIGN = {"node_modules", "build", "dist"}
OURS_THOUGH_HIDDEN = {".ci", ".github"}

# The pages run under a Content-Security-Policy without inline script or style, and escape everything.
FORBIDDEN_IN_TEMPLATES = {
    "an unescaped value": re.compile(r"\|\s*safe\b|autoescape\s+false"),
    "an inline style": re.compile(r"\sstyle\s*=|<style\b", re.IGNORECASE),
    "an inline script": re.compile(
        r"<script\b(?![^>]*\ssrc=)|\son[a-z]+\s*=\s*[\"']|javascript:", re.IGNORECASE
    ),
}


def own_files() -> Iterator[Path]:
    for folder, subfolders, names in os.walk(CHECKOUT):
        subfolders[:] = [
            name
            for name in subfolders
            if name in OURS_THOUGH_HIDDEN or not (name.startswith((".", "dmarcgate-lab-")) or name in FOREIGN)
        ]
        yield from (Path(folder) / name for name in names)


def is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        return bool(re.match(rb"#!.*[ /](ba)?sh\b", file.readline(80)))


def test_templates_escape_everything_and_carry_no_inline_script_or_style() -> None:
    templates = [path for path in own_files() if path.suffix == ".html"]

    offences = [
        f"{path.relative_to(CHECKOUT)} has {offence}: {match.group()}"
        for path in templates
        for offence, pattern in FORBIDDEN_IN_TEMPLATES.items()
        for match in pattern.finditer(path.read_text())
    ]

    assert offences == []


def test_shell_scripts_stop_at_the_first_error() -> None:
    scripts = [path for path in own_files() if is_shell_script(path)]

    careless = [str(path) for path in scripts if "\nset -euo pipefail\n" not in path.read_text()]

    assert CHECKOUT / "tests" / "run" in scripts
    assert careless == []
