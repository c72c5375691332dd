"""T47: how often the filter lets mail pass unchecked."""

import os
from collections.abc import Callable

import pytest

from appliance.filter.breaker import CircuitBreaker, Failures
from appliance.filter.counters import own_counters, shared_counters
from appliance.store.nodes import Count


def test_t47_a_limited_number_of_uses_is_allowed_and_it_resumes_by_itself() -> None:
    breaker = CircuitBreaker(3, 600.0)

    uses = [breaker.use(0, now) for now in (0.0, 1.0, 2.0, 3.0, 599.0, 600.0, 600.5, 601.0)]

    assert uses == [True, True, True, False, False, True, False, True]


def test_t47_uses_that_are_refused_do_not_put_off_its_end() -> None:
    breaker = CircuitBreaker(1, 10.0)
    breaker.use(0, 0.0)

    refused = [breaker.use(0, now) for now in range(1, 10)]

    assert not any(refused)
    assert breaker.use(0, 10.0)


def test_t47_the_workers_of_a_node_share_one_number() -> None:
    breaker = CircuitBreaker(3, 600.0, workers=2)

    uses = [breaker.use(worker, 1.0) for worker in (0, 1, 0, 1, 0)]

    assert uses == [True, True, True, False, False]


def test_t47_zero_allows_none() -> None:
    assert not CircuitBreaker(0, 600.0).use(0, 1.0)


def in_a_process(work: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_t47_what_a_worker_has_used_and_counted_outlives_it() -> None:
    breaker = CircuitBreaker(2, 600.0, workers=2)
    counters = shared_counters(2)

    failures = Failures(breaker, 0, counters[0], clock=lambda: 1.0)

    in_a_process(lambda: failures.lets_through("A", wanted=True))

    assert [breaker.use(1, 2.0), breaker.use(0, 2.0)] == [True, False]
    assert [each[Count.UNCHECKED] for each in counters] == [1, 0]


def test_t47_every_message_is_counted_and_each_alarm_is_one_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    counters = own_counters()
    failures = Failures(CircuitBreaker(1, 600.0), 0, counters, clock=lambda: 1.0)

    passed = [failures.lets_through(qid, wanted=True) for qid in ("A", "B", "C")]

    assert passed == [True, False, False]
    assert (counters[Count.UNCHECKED], counters[Count.DEFERRED]) == (1, 2)
    written = "".join(capfd.readouterr())
    assert written.count("let-through-unchecked") == 1
    assert written.count("too-many-unchecked") == 1


def test_without_the_setting_nothing_passes_unchecked() -> None:
    counters = own_counters()
    failures = Failures(CircuitBreaker(10, 600.0), 0, counters)

    passed = failures.lets_through("A", wanted=False)

    assert not passed
    assert counters.as_dict() == {
        "let_through_unchecked": 0,
        "deferred_by_failure": 1,
        "deferred_busy": 0,
        "unrecorded": 0,
        "connections_refused": 0,
        "worker_deaths": 0,
    }
