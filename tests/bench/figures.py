"""What the benchmark prints: each filter's figures, and ours as shares of the others'."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.bench.candidates import OURS
from tests.bench.peers import OPENDKIM, OPENDMARC, PAIR, RSPAMD


@dataclass(frozen=True, slots=True)
class Round:
    """One filter's run over the corpus."""

    cpu_ms: float
    """CPU time of the daemon and its workers, a message."""
    per_second: float
    p50_ms: float
    p99_ms: float
    wrong: int
    """Messages that got another verdict than their kind deserves."""


@dataclass(slots=True)
class Figures:
    """One filter's rounds; each figure printed is the median of them."""

    name: str
    rounds: list[Round] = field(default_factory=list)
    big_cpu_ms: float | None = None
    """CPU time of one message of 5 MB."""
    memory: dict[int, float] = field(default_factory=dict)
    """Megabytes of the largest process after so many messages."""

    @property
    def cpu_ms(self) -> float:
        return median(each.cpu_ms for each in self.rounds)

    @property
    def row(self) -> list[str]:
        rounds = self.rounds
        return [
            self.name,
            f"{self.cpu_ms:.3f}",
            f"{min(each.cpu_ms for each in rounds):.3f}-{max(each.cpu_ms for each in rounds):.3f}",
            f"{median(each.per_second for each in rounds):.0f}",
            f"{median(each.p50_ms for each in rounds):.1f}",
            f"{median(each.p99_ms for each in rounds):.1f}",
            f"{list(self.memory.values())[-1]:.0f}",
            "" if self.big_cpu_ms is None else f"{self.big_cpu_ms:.1f}",
            str(sum(each.wrong for each in rounds)),
        ]


_HEADINGS = [
    "filter",
    "CPU ms/message",
    "of the rounds",
    "messages/s",
    "p50 ms",
    "p99 ms",
    "MB of a worker",
    "CPU ms of 5 MB",
    "wrong verdicts",
]


def ratios(all_figures: Sequence[Figures]) -> dict[str, float]:
    """Our CPU time a message as a share of the others'; of those that were measured."""
    cpu = {figures.name: figures.cpu_ms for figures in all_figures}
    if {OPENDKIM, OPENDMARC} <= cpu.keys():
        cpu[PAIR] = cpu[OPENDKIM] + cpu[OPENDMARC]
    return {name: round(cpu[OURS] / cpu[name], 3) for name in (PAIR, RSPAMD) if name in cpu}


def table(all_figures: Sequence[Figures]) -> str:
    rows = [_HEADINGS, *(figures.row for figures in all_figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]
    lines += [f"{OURS} / {name}: {ratio:.2f}" for name, ratio in ratios(all_figures).items()]
    return "\n".join(lines)


def memory_lines(figures: Figures) -> str:
    return "\n".join(
        f"{figures.name}: a worker holds {megabytes:.1f} MB after {messages} messages"
        for messages, megabytes in figures.memory.items()
    )


def as_json(all_figures: Sequence[Figures], corpus: dict[str, Any]) -> dict[str, Any]:
    return {
        "corpus": corpus,
        "filters": {figures.name: asdict(figures) | {"cpu_ms": figures.cpu_ms} for figures in all_figures},
        "ratios": ratios(all_figures),
    }
