"""The benchmark: what our filter costs a message, beside the programs that it replaces.

  python -m tests.bench [options]

Each round sends the same messages to every filter in turn, over Unix sockets, a connection for each message; the
programs measured run all the time. CPU time is that of the daemon and its workers, the name server's excluded.
Our filter records every event and report fact in SQLite and only monitors, as the others do. The others are measured
where they are installed (Debian: opendkim, opendmarc, rspamd) and the benchmark runs as root. Machines differ, so
compare the ratios at the end of the table.
"""

import argparse
import json
import pstats
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import reports, search
from tests.bench.candidates import CHECKOUT, OURS, Candidate, our_filter
from tests.bench.corpus import Corpus, corpus
from tests.bench.figures import Figures, Round, as_json, memory_lines, table
from tests.bench.load import Outcome, send
from tests.bench.peers import missing, peers
from tests.bench.processes import CannotStart

CACHE = CHECKOUT / ".cache" / "bench"
BIG_CONNECTIONS = 2
PROFILE_LINES = 40
FIRST_MEMORY = 20_000  # messages until every cache and allocator has seen what there is


def main() -> int:
    options = _options()
    if options.search:
        return search.main(options.search)
    if options.reports:
        return reports.main(options.reports)
    made = corpus(CACHE, messages=options.corpus_messages)
    print(
        f"corpus: {len(made.mails)} messages of {made.average_octets / 1000:.1f} kB on average",
        file=sys.stderr,
    )
    if options.profile:
        _profile(options, made)
        return 0
    try:
        with ExitStack() as stack:
            candidates = _candidates(options, made, stack)
            measured = [Figures(candidate.name) for candidate in candidates]
            _measure(options, made, candidates, measured)
    except CannotStart as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        about = {"messages": len(made.mails), "average_octets": made.average_octets}
        print(json.dumps(as_json(measured, about), indent=2))
    else:
        print(table(measured))
        if options.soak:
            print(memory_lines(measured[0]))
    return 1 if any(each.wrong for figures in measured for each in figures.rounds) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-n", "--messages", type=int, default=2000, help="messages a round (%(default)s)")
    add("-c", "--connections", type=int, default=8, help="at a time (%(default)s)")
    add("--rounds", type=int, default=3, help="figures are their medians (%(default)s)")
    add("--workers", type=int, default=2, help="processes of each filter that has some (%(default)s)")
    add("--warm", type=int, default=400, help="messages before the first round (%(default)s)")
    add(
        "--big", type=int, default=20, metavar="N", help="send the 5 MB message N times (%(default)s); 0: not"
    )
    add("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure the others too")
    add("--only", metavar="NAME", help="measure this one alone; ours is always there")
    add("--soak", type=int, default=0, metavar="N", help="afterwards: our memory after N messages")
    add("--profile", action="store_true", help="instead: where our filter's time goes")
    add(
        "--search",
        type=int,
        nargs="?",
        const=search.EVENTS,
        metavar="N",
        help=f"instead: searches among N events ({search.EVENTS})",
    )
    add(
        "--reports",
        type=int,
        nargs="?",
        const=reports.ROWS,
        metavar="N",
        help=f"instead: the aggregate reports of a day with N rows ({reports.ROWS})",
    )
    add("--corpus-messages", type=int, default=400, help="different messages (%(default)s)")
    add("--json", action="store_true", help="print the figures of every round as JSON")
    return parser.parse_args()


def _profile(options: argparse.Namespace, made: Corpus) -> None:
    with tempfile.TemporaryDirectory(prefix="dmarcgate-bench-") as name:
        statistics = Path(name) / "statistics"
        with our_filter(made, Path(name) / "ours", workers=1, statistics=statistics) as candidate:
            send(candidate.listening, made, made.mails, options.messages, options.connections)
        found = pstats.Stats(str(statistics)).strip_dirs()
        found.sort_stats("tottime").print_stats(PROFILE_LINES)
        pstats.Stats(str(statistics)).sort_stats("cumulative").print_stats(
            "/appliance/|/spf.py", PROFILE_LINES
        )


def _candidates(options: argparse.Namespace, made: Corpus, stack: ExitStack) -> list[Candidate]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dmarcgate-bench-")))
    candidates = [stack.enter_context(our_filter(made, folder / "ours", workers=options.workers))]
    if options.peers:
        for reason in missing():
            print(f"not compared: {reason}", file=sys.stderr)
        candidates += stack.enter_context(peers(made, folder / "peers", workers=options.workers))
    return [
        candidate
        for candidate in candidates
        if options.only in {None, candidate.name} or candidate.name == OURS
    ]


def _measure(
    options: argparse.Namespace, made: Corpus, candidates: Sequence[Candidate], measured: Sequence[Figures]
) -> None:
    for candidate in candidates:
        if options.warm:
            send(candidate.listening, made, made.mails, options.warm, options.connections)
    sent = options.warm
    for _ in range(options.rounds):
        for candidate, figures in zip(candidates, measured, strict=True):
            figures.rounds.append(_round(candidate, made, options.messages, options.connections))
        sent += options.messages
    for candidate, figures in zip(candidates, measured, strict=True):
        if options.big:
            before = candidate.daemon.cpu_seconds()
            done = send(candidate.listening, made, [made.big], options.big, BIG_CONNECTIONS)
            figures.big_cpu_ms = (candidate.daemon.cpu_seconds() - before) / done.messages * 1000
        figures.memory[sent] = candidate.daemon.largest_megabytes()
    if options.soak:
        _soak(options, made, candidates[0], measured[0], sent)


def _round(candidate: Candidate, made: Corpus, messages: int, connections: int) -> Round:
    before = candidate.daemon.cpu_seconds()
    done = send(candidate.listening, made, made.mails, messages, connections)
    cpu = candidate.daemon.cpu_seconds() - before
    return Round(
        cpu_ms=cpu / done.messages * 1000,
        per_second=done.messages / done.seconds,
        p50_ms=done.percentile(0.5) * 1000,
        p99_ms=done.percentile(0.99) * 1000,
        wrong=_wrong(candidate, done),
    )


def _wrong(candidate: Candidate, done: Outcome) -> int:
    return sum(number for verdict, number in done.verdicts.items() if not candidate.is_right(verdict))


def _soak(
    options: argparse.Namespace, made: Corpus, candidate: Candidate, figures: Figures, sent: int
) -> None:
    for goal in sorted({min(FIRST_MEMORY, options.soak), options.soak // 2, options.soak}):
        if goal > sent:
            done = send(candidate.listening, made, made.mails, goal - sent, options.connections)
            sent += done.messages
            figures.memory[sent] = candidate.daemon.largest_megabytes()


if __name__ == "__main__":
    sys.exit(main())
