"""Whose turn it is, and what becomes of the times."""

from __future__ import annotations

from threefusion.perf.timing import WARM_UPS, Timing, interleave, summary, timed


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_candidates_take_turns() -> None:
    order: list[str] = []
    calls = [lambda mark, name=name: order.append(name) for name in "abc"]
    assert len(interleave(calls, 3, Hand())) == 3
    assert "".join(order) == "abc" * (WARM_UPS + 3)


def test_warm_ups_do_not_count_and_the_middle_one_does() -> None:
    hand = Hand()
    durations = iter([100.0, 50.0, 0.004, 0.001, 0.009])

    def call(mark) -> None:
        hand.seconds += next(durations)

    (timing,) = interleave([call], 3, hand)
    assert (round(timing.median, 9), round(timing.minimum, 9), timing.phases) == (4.0, 1.0, {})


def test_phases_of_one_name_are_added_up_and_the_whole_is_more_than_its_parts() -> None:
    hand = Hand()

    def call(mark) -> None:
        for name, seconds in (("network", 0.25), ("rest", 0.5), ("network", 1.0)):
            hand.seconds += seconds
            mark(name)
        hand.seconds += 2.0

    assert timed(call, hand) == {"": 3750.0, "network": 1250.0, "rest": 500.0}


def test_phases_have_medians_of_their_own() -> None:
    runs = [{"": 3.0, "a": 1.0, "b": 2.0}, {"": 9.0, "a": 8.0, "b": 1.0}, {"": 5.0, "a": 2.0, "b": 3.0}]
    assert summary(runs) == Timing(5.0, 3.0, {"a": 2.0, "b": 2.0})
