"""The import contracts hold for the code as it is, and each of them notices a forbidden import."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LAYERS = "Layers of the appliance"
REPORTS_BELOW = "Only the command line, the lab and the pages may call the reports"
REPORTS_APART = (
    "The reports know nothing of the filter, the pages, the lab, the command line or the milter protocol"
)
CORE = "The core does no I/O"
PYSPF = "pyspf only in the checks"
DKIMPY = "dkimpy only in the checks and the signing of reports"
DNSPYTHON = "dnspython only in the resolver and the lab's name server"
SQL = "SQL only in the store"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the two packages and their contracts, to plant something in."""
    for package in ("appliance", "reporting"):
        shutil.copytree(
            CHECKOUT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "static")
        )
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    return tmp_path


def lint_imports(folder: Path) -> tuple[int, str]:
    """The exit status and the words of import-linter's report on the code in *folder*."""
    finished = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=folder,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.returncode, finished.stdout + finished.stderr


def test_the_code_keeps_its_import_contracts(copied: Path) -> None:
    status, report = lint_imports(copied)

    assert status == 0, report


@pytest.mark.parametrize(
    ("module", "statement", "contract"),
    [
        pytest.param("appliance/mail/message.py", "import appliance.store", LAYERS, id="core to store"),
        pytest.param("appliance/web/__init__.py", "import appliance.filter", LAYERS, id="page to filter"),
        pytest.param("appliance/store/__init__.py", "import appliance.web", LAYERS, id="store to page"),
        pytest.param(
            "appliance/filter/__init__.py", "import reporting", REPORTS_BELOW, id="filter to reports"
        ),
        pytest.param("appliance/node.py", "import reporting", REPORTS_BELOW, id="node to reports"),
        pytest.param(
            "reporting/__init__.py", "import appliance.filter", REPORTS_APART, id="reports to filter"
        ),
        pytest.param(
            "reporting/__init__.py", "import appliance.milter", REPORTS_APART, id="reports to milter"
        ),
        pytest.param("appliance/policy.py", "import dns.resolver", CORE, id="DNS in the core"),
        pytest.param("appliance/milter/__init__.py", "import socket", CORE, id="a socket in the core"),
        pytest.param("appliance/dmarc/__init__.py", "import time", CORE, id="a clock in the core"),
        pytest.param("appliance/settings/__init__.py", "import os", CORE, id="the environment in the core"),
        pytest.param("reporting/__init__.py", "import spf", PYSPF, id="pyspf in the reports"),
        pytest.param("appliance/web/__init__.py", "import dkim", DKIMPY, id="dkimpy in the pages"),
        pytest.param("appliance/checks/planted.py", "import dns.message", DNSPYTHON, id="DNS in the checks"),
        pytest.param("appliance/filter/planted.py", "import sqlalchemy.orm", SQL, id="SQL in the filter"),
        pytest.param("appliance/__main__.py", "import sqlite3", SQL, id="SQL in the command"),
    ],
)
def test_a_forbidden_import_breaks_its_contract(
    copied: Path, module: str, statement: str, contract: str
) -> None:
    with (copied / module).open("a") as source:
        source.write(f"\n{statement}\n")

    status, report = lint_imports(copied)

    assert status == 1, report
    assert f"{contract} BROKEN" in report
    importer = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert f"{importer} -> {imported_name(statement)} (l." in report


def imported_name(statement: str) -> str:
    """Our own modules are named in full, others by their package."""
    name = statement.removeprefix("import ")
    return name if name.startswith("appliance") else name.partition(".")[0]


def test_a_module_without_a_layer_breaks_the_contract(copied: Path) -> None:
    (copied / "appliance" / "unlisted.py").touch()

    status, report = lint_imports(copied)

    assert status == 1, report
    assert f"{LAYERS} BROKEN" in report
    assert "- appliance.unlisted" in report
