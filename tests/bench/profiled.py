"""``python -m tests.bench.profiled STATISTICS OPTION...``: ``dmarcgate filter`` as one process under cProfile.

The recorder's thread, which writes to the store, isn't seen. Calls cost more under the profiler, so read the order of
the functions rather than their times.
"""

import cProfile
import os
import sys

from appliance.cli import main
from appliance.filter import server
from appliance.filter.supervisor import Lifeline, Work


def profiled(statistics: str, work: Work) -> int:
    """One worker, in this process, until SIGTERM."""
    profile = cProfile.Profile()
    alive_end, _parent_end = os.pipe()
    _beats, beat_end = os.pipe()
    os.set_blocking(beat_end, False)
    try:
        return profile.runcall(work, 0, Lifeline(alive_end, beat_end))
    finally:
        profile.dump_stats(statistics)


if __name__ == "__main__":
    _, file, *options = sys.argv
    server.supervise = lambda counters, work, **_: profiled(file, work)  # type: ignore[attr-defined]  # noqa: ARG005  # the one place to step in
    sys.argv = ["dmarcgate", "filter", *options]
    main()
