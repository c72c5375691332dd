"""The benchmark itself works: it prints its figures, and the filter's verdicts are those that the corpus deserves."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.corpus import Kind, corpus
from tests.bench.figures import Figures, Round, ratios, table
from tests.bench.peers import OPENDKIM, OPENDMARC, PAIR, RSPAMD

CHECKOUT = Path(__file__).parents[2]


def bench(*options: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--no-peers", "--corpus-messages", "20", *options],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.mark.system
def test_the_benchmark_prints_its_figures_and_finds_every_verdict_right() -> None:
    printed = bench("--json", "-n", "40", "-c", "2", "--rounds", "2", "--warm", "20", "--big", "1")

    figures = json.loads(printed)["filters"]["dmarcgate"]
    assert [each["wrong"] for each in figures["rounds"]] == [0, 0]
    assert figures["cpu_ms"] > 0
    assert figures["big_cpu_ms"] > 0
    assert list(figures["memory"]) == ["100"]


@pytest.mark.system
def test_the_table_names_every_figure() -> None:
    printed = bench("-n", "20", "-c", "2", "--rounds", "1", "--warm", "0", "--big", "0", "--soak", "40")

    heading, row, *memory = printed.splitlines()
    assert heading.split("  ")[0] == "filter"
    assert row.startswith("dmarcgate")
    assert row.endswith(" 0")
    assert [line.rpartition("after ")[2] for line in memory] == ["20 messages", "40 messages"]


def test_the_corpus_has_the_mix_of_kinds_that_it_promises(tmp_path: Path) -> None:
    made = corpus(tmp_path, messages=20, domains=2)

    kinds = [mail.kind for mail in made.mails]
    assert [kinds.count(kind) for kind in Kind] == [16, 2, 2]
    assert all(
        made.read(mail).startswith(b"DKIM-Signature:") is (mail.kind is Kind.SIGNED) for mail in made.mails
    )
    assert made.big.octets > 5_000_000
    assert corpus(tmp_path, messages=20, domains=2) == made


def figures_of(name: str, *cpu_ms: float) -> Figures:
    rounds = [Round(cpu_ms=each, per_second=1, p50_ms=1, p99_ms=1, wrong=0) for each in cpu_ms]
    return Figures(name, rounds, memory={1: 50.0})


def test_the_ratios_compare_medians_and_the_pair_counts_as_one() -> None:
    measured = [
        figures_of("dmarcgate", 1.0, 9.0, 1.2),
        figures_of(OPENDKIM, 0.9),
        figures_of(OPENDMARC, 0.6),
        figures_of(RSPAMD, 2.4),
    ]

    assert ratios(measured) == {PAIR: 0.8, RSPAMD: 0.5}
    assert "dmarcgate / rspamd: 0.50" in table(measured)
    assert ratios(measured[:2]) == {}
