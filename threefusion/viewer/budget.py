"""How much may be rendered between two steps."""

from __future__ import annotations

LONGEST = 0.5
"""Seconds that the training waits at most for one picture."""
SMALLEST = 2**10
"""Pixels of the smallest picture."""


class Budget:
    """Seconds that a viewer has, earned by training and spent on pictures.

    `share` seconds are earned per second of training. How many pixels they are worth is measured.

    >>> budget = Budget(0.1)
    >>> budget.earn(1.0)
    >>> budget.measure(0.05, pixels=5000)
    >>> budget.spend(0.05)
    >>> round(budget.seconds, 3), budget.pixels
    (0.05, 5000)
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.seconds = 0.0
        """What is left; below 0 after something that was dearer than expected."""
        self.speed = 0.0
        """Pixels per second; 0 before the first picture."""

    def earn(self, seconds: float) -> None:
        """The training has worked for so long."""
        self.seconds = min(self.seconds + self.share * seconds, LONGEST)

    def measure(self, seconds: float, pixels: int) -> None:
        """So long has a picture with so many pixels taken."""
        measured = pixels / max(seconds, 1e-6)
        self.speed = measured if not self.speed else 0.7 * self.speed + 0.3 * measured

    def spend(self, seconds: float) -> None:
        """So much was spent."""
        self.seconds -= seconds

    @property
    def pixels(self) -> int:
        """How many can be rendered for what is left; before the first picture the smallest, to measure with."""
        if self.seconds <= 0:
            return 0
        return round(self.speed * self.seconds) if self.speed else SMALLEST

    @property
    def largest(self) -> int:
        """How many can be rendered at once when nothing was spent for a while."""
        return max(SMALLEST, round(self.speed * LONGEST))
