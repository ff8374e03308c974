"""Where a step's time goes, on a processor and, with events that stand in for a GPU's, on a device that runs behind."""

from __future__ import annotations

import torch

from threefusion.system import phases
from threefusion.system.phases import PhaseClock, as_text, per_step


def test_seconds_are_added_up_and_the_rest_is_other(monkeypatch):
    now = iter([0.0, 1.0, 1.0, 3.0, 5.0, 6.0])
    monkeypatch.setattr(phases.time, "perf_counter", lambda: next(now))
    clock, device = PhaseClock(), torch.device("cpu")
    for name in ("render", "guidance", "render"):
        with clock.measure(name, device):
            pass
    clock.stop("backward", device)
    assert clock.seconds(10.0) == {"render": 2.0, "guidance": 2.0, "backward": 0.0, "other": 6.0}


class Event(torch.cuda.Event):
    """A device event that has passed once the device's clock is beyond it; to wait for it is an error."""

    now, reached = 0.0, 0.0

    def __new__(cls, enable_timing):
        return object.__new__(cls)

    def __init__(self, enable_timing):
        Event.now += 0.5
        self.at = Event.now

    def record(self):
        assert self.at == Event.now

    def query(self):
        return self.at <= Event.reached

    def elapsed_time(self, other):
        return 1000 * (other.at - self.at)


def test_a_device_that_runs_behind_is_never_waited_for_and_few_events_are_held(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock, device = PhaseClock(), torch.device("cuda")
    for _ in range(100):
        with clock.measure("render", device):
            pass
        Event.reached = Event.now - 2
    assert len(clock._events) <= 3
    Event.reached = Event.now
    assert clock.seconds(60.0) == {"render": 50.0, "guidance": 0.0, "backward": 0.0, "other": 10.0}
    assert not clock._events


def test_a_step_in_words():
    assert per_step({"render": 1.0, "guidance": 4.0}, 100) == {"render": 10.0, "guidance": 40.0}
    assert per_step({"render": 1.0}, 0) == {}
    assert as_text({"render": 10.04, "guidance": 40.0, "other": 0.512}) == "guidance 40 + render 10 + other 0.512 ms"
