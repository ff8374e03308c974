"""Values that change with the optimiser step, as pure functions of the step."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A piecewise-linear function of the optimiser step, constant before the first knot and after the last.

    In YAML a plain number, or `{knots: {0: 10, 5000: 1000}}`.
    """

    knots: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.knots]
        if not steps or steps != sorted(set(steps)) or steps[0] < 0:
            raise ValueError("knots need at least one step, steps >= 0 in increasing order")

    @classmethod
    def constant(cls, value: int | float) -> Schedule:
        """The schedule that is `value` at every step."""
        return cls(((0, float(value)),))

    def __call__(self, step: int) -> float:
        """The value at optimiser step `step`."""
        place = bisect_right(self.knots, step, key=lambda knot: knot[0])
        if place == 0:
            return self.knots[0][1]
        if place == len(self.knots):
            return self.knots[-1][1]
        (step0, value0), (step1, value1) = self.knots[place - 1], self.knots[place]
        return value0 + (value1 - value0) * (step - step0) / (step1 - step0)

    @property
    def largest(self) -> float:
        """The largest value it ever takes."""
        return max(value for _, value in self.knots)
