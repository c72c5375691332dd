"""The command line as an administrator uses it: changes, mistakes, exit statuses."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs ``dmarcgate NOUN VERB --store … ARGUMENTS``."""

    def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        words = [*arguments[:2], "--store", f"sqlite:///{tmp_path}/gate.db", *arguments[2:]]
        return subprocess.run(
            [sys.executable, "-m", "appliance", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return command


def test_settings_are_changed_all_or_none(run: Run) -> None:
    changed = run(
        "settings", "set", "verification.enabled=true", "verification.exceptions=192.0.2.1\n2001:db8::1"
    )
    refused = run("settings", "set", "verification.mode=monitor", "verification.actions.none=explode")

    assert (changed.returncode, refused.returncode) == (0, 2)
    assert 'verification.actions.none: "explode" must be one of' in refused.stderr
    assert run("settings", "get", "verification.mode").stdout == "enforce\n"
    assert run("settings", "get", "verification.exceptions").stdout == "192.0.2.1\n2001:db8::1\n"
    assert run("settings", "get", "verification.enabled").stdout == "true\n"


def test_s18_export_and_import_are_the_identity(run: Run) -> None:
    run("settings", "set", "verification.domains=example.com # the bank")
    document = run("settings", "export").stdout

    again = run("settings", "import", stdin=document)

    assert again.stderr == "revision 1 (nothing changed)\n"
    assert run("settings", "export").stdout == document


def test_a_document_with_mistakes_saves_nothing_and_names_each(run: Run) -> None:
    document = json.dumps({"verification": {"exceptions": ["10.0.0.1/8", "x"], "colour": 1}})

    done = run("settings", "import", stdin=document)

    assert done.returncode == 2
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()] == [
        "dmarcgate",
        "verification.exceptions, line 1",
        "verification.exceptions, line 2",
        "verification.colour",
    ]
    assert run("settings", "history").stdout == ""


def test_an_unknown_setting_is_named(run: Run) -> None:
    done = run("settings", "get", "verification.enabeld")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "verification.enabeld" in done.stderr


def test_each_save_is_a_revision_with_author_and_comment(run: Run) -> None:
    run("settings", "set", "--comment", "trial", "verification.enabled=true")
    run("settings", "set", "verification.x_header=true")

    rows = [json.loads(line) for line in run("settings", "history", "--json").stdout.splitlines()]

    assert [(row["revision"], row["comment"]) for row in rows] == [(2, ""), (1, "trial")]
    assert all(row["author"] for row in rows)


def test_t34_a_new_account_gets_a_one_time_password_of_its_own(run: Run) -> None:
    first, second = run("user", "add", "anna"), run("user", "add", "bert")

    assert first.returncode == second.returncode == 0
    assert first.stdout.strip() != second.stdout.strip()
    assert len(first.stdout.strip()) >= 12
    assert run("user", "add", "anna").returncode == 1


def test_releasing_what_is_not_held_is_a_negative_result_in_one_line(run: Run) -> None:
    done = run("quarantine", "release", "0123456789ab")

    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "0123456789ab" in done.stderr


def test_a_store_of_a_newer_version_is_left_alone(run: Run, tmp_path: Path) -> None:
    import sqlite3

    run("settings", "history")
    with sqlite3.connect(tmp_path / "gate.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()

    done = run("settings", "show")

    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_every_command_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "--help"], capture_output=True, text=True, check=True
    )

    for noun in ("filter", "lab", "quarantine", "report", "settings", "user", "verify", "web"):
        assert f"  {noun} " in done.stdout
        help_text = subprocess.run(
            [sys.executable, "-m", "appliance", noun, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert "Usage: dmarcgate" in help_text
