"""F16: above the bound one message is read at a time, each gets its turn, and the small are never held up."""

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from appliance.filter.buffers import SMALL_OCTETS, Buffers

BOUND = 1_000_000
CHUNK = 200_000


@dataclass(eq=False)
class Sender:
    """Sends a message of *left* octets as long as it is read."""

    left: int
    held: int = 0
    reading: bool = True

    def pause(self) -> None:
        assert self.reading
        self.reading = False

    def resume(self) -> None:
        assert not self.reading
        self.reading = True

    def send(self, buffers: Buffers) -> None:
        now = min(CHUNK, self.left)
        self.left -= now
        self.held += now
        buffers.holds(self, self.held)


def test_f16_below_the_bound_everybody_is_read() -> None:
    buffers, senders = Buffers(BOUND), [Sender(CHUNK) for _ in range(5)]

    for sender in senders:
        sender.send(buffers)

    assert all(sender.reading for sender in senders)


def test_f16_above_the_bound_the_oldest_alone_is_read_and_then_the_next() -> None:
    buffers, senders = Buffers(BOUND), [Sender(10 * CHUNK) for _ in range(7)]
    for sender in senders:
        sender.send(buffers)

    above = [sender.reading for sender in senders]
    buffers.holds(senders[0], 0)
    below = [sender.reading for sender in senders]

    assert above == [True] + [False] * 6
    assert below == [True] + [True] + [False] * 5


def test_f16_all_are_read_again_when_there_is_room() -> None:
    buffers, senders = Buffers(BOUND), [Sender(10 * CHUNK) for _ in range(7)]
    for sender in senders:
        sender.send(buffers)

    buffers.holds(senders[3], 0)
    buffers.holds(senders[4], 0)

    assert all(sender.reading for sender in senders)


def test_f16_small_messages_are_read_on_beside_the_large() -> None:
    buffers = Buffers(BOUND)
    large, small = [Sender(10 * CHUNK) for _ in range(8)], Sender(SMALL_OCTETS)
    for sender in large:
        sender.send(buffers)

    small.send(buffers)

    assert small.reading


@given(sizes=st.lists(st.integers(1, 2_000_000), min_size=1, max_size=40), picks=st.randoms())
def test_f16_whatever_comes_every_message_ends_and_little_more_than_the_bound_is_held(
    sizes: list[int], picks: random.Random
) -> None:
    buffers, senders = Buffers(BOUND), [Sender(size) for size in sizes]
    most, steps = 0, 0

    while senders:
        able = [sender for sender in senders if sender.reading]
        assert able, "somebody is always read"
        sender = picks.choice(able)
        sender.send(buffers)
        most = max(most, sum(each.held for each in senders))
        if not sender.left:
            senders.remove(sender)
            buffers.holds(sender, 0)
        steps += 1

    assert steps <= sum(size // CHUNK + 1 for size in sizes)
    assert most <= BOUND + max(sizes) + len(sizes) * (SMALL_OCTETS + CHUNK)
