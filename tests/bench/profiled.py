"""``python -m tests.bench.profiled STATISTICS OPTION...``: ``dmarcgate filter`` as one process under cProfile.

The recorder's thread, which writes to the store, isn't seen. Calls cost more under the profiler, so read the order of
the functions rather than their times.
"""

import cProfile
import os
import sys

from appliance.cli import main
from appliance.filter import server
from appliance.filter.supervisor import Work


def profiled(statistics: str, work: Work) -> int:
    """One worker, in this process, until SIGTERM."""
    profile = cProfile.Profile()
    alive_end, _parent_end = os.pipe()
    try:
        return profile.runcall(work, 0, alive_end)
    finally:
        profile.dump_stats(statistics)


if __name__ == "__main__":
    _, file, *options = sys.argv
    server.supervise = lambda workers, work: profiled(file, work)  # type: ignore[attr-defined]  # noqa: ARG005  # the one place to step in
    sys.argv = ["dmarcgate", "filter", *options]
    main()
