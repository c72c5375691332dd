"""Every row of the requirements has a test that names it, and the tool that says so can be believed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import named_in, read_rows

CHECKOUT = Path(__file__).parents[2]


def test_every_row_has_a_test() -> None:
    done = subprocess.run(
        [sys.executable, "tests/requirements.py"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, f"all {len(read_rows())} rows have a test\n")


def test_a_row_without_a_test_is_named_and_is_a_failure(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "requirements.py").write_text((CHECKOUT / "tests" / "requirements.py").read_text())
    (tests / "requirements.toml").write_text('[AB]\n01 = "M: one"\n02 = "D: two"\n')
    (tests / "test_one.py").write_text("def test_ab_01_holds() -> None: ...\n")

    done = subprocess.run(
        [sys.executable, tests / "requirements.py"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "AB-02: D: two\n1 of 2 rows have no test\n")


def test_what_people_see_is_tested_through_postfix_only(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    (tests / "system").mkdir(parents=True)
    (tests / "requirements.py").write_text((CHECKOUT / "tests" / "requirements.py").read_text())
    (tests / "requirements.toml").write_text('[S]\n1 = "one"\n12 = "twelve"\n')
    (tests / "test_unit.py").write_text("def test_s1() -> None: ...\ndef test_s12() -> None: ...\n")
    (tests / "system" / "test_mail.py").write_text("def test_s12_holds() -> None: ...\n")

    done = subprocess.run(
        [sys.executable, tests / "requirements.py"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (1, "S1: one\n1 of 2 rows have no test\n")


@pytest.mark.parametrize(
    ("source", "named"),
    [
        pytest.param("def test_ab_01_cd_02() -> None: ...", {"AB-01", "CD-02"}, id="name"),
        pytest.param("async def test_ab_01() -> None: ...", {"AB-01"}, id="asynchronous"),
        pytest.param("def test_x() -> None:\n    '''AB-01, CD-02'''", {"AB-01", "CD-02"}, id="docstring"),
        pytest.param("class TestX:\n    def test_ab_01(self): ...", {"AB-01"}, id="method"),
        pytest.param("@p(q('', id='AB-01 x'))\ndef test_x(y): ...", {"AB-01"}, id="case"),
        pytest.param("T = [q('', id='AB-01 x')]\n@p(T)\ndef test_x(y): ...", {"AB-01"}, id="table in use"),
        pytest.param("T: list = [q('', id='AB-01')]\n@p(T)\ndef test_x(y): ...", {"AB-01"}, id="typed table"),
        pytest.param("T = [q('', id='AB-01 x')]\ndef test_x(y): ...", set(), id="table not in use"),
        pytest.param("'''AB-01 to AB-09'''\ndef test_x(): ...", set(), id="module docstring"),
        pytest.param("def ab_01():\n    '''AB-01'''\ndef test_x(): ...", set(), id="helper"),
        pytest.param("def test_x(): ...  # AB-01", set(), id="comment"),
        pytest.param("def test_grab_01x(): ...", set(), id="part of a word"),
        pytest.param("def test_s8_s12_x(): ...", {"S8", "S12"}, id="two of behaviour"),
        pytest.param("@p(id='x, S9')\ndef test_x(y):\n    '''S10'''", {"S9", "S10"}, id="behaviour in text"),
        pytest.param("def test_ps1_s100(): '''S0, AS1, S123, s1'''", set(), id="no row of behaviour"),
    ],
)
def test_what_counts_as_naming_a_row(source: str, named: set[str]) -> None:
    assert named_in(source) == named
