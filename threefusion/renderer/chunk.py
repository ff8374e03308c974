"""How much is looked at together, and halving it when that is too much for the memory."""

from __future__ import annotations

import sys

from threefusion.errors import UserError


class Chunk:
    """A number of rays or samples that are looked at together: it decides about time and memory, not about the image."""

    def __init__(self, setting: str, size: int, floor: int) -> None:
        self.setting = setting
        self.size = size
        self.floor = floor
        """Below this a chunk costs more in calls than it saves in memory."""
        self.present = size
        """How many there were in the last render: a chunk larger than that is not what fills the memory."""

    def halve(self, advice: str) -> None:
        """Half of what was looked at together in the render that did not fit; says so in one line.

        Raises:
            UserError: that would be below the floor; ends with `advice`.
        """
        largest = min(self.size, self.present)
        if largest // 2 < self.floor:
            raise UserError(f"out of memory, and {self.setting} cannot be halved again: it is down to {largest}. {advice}")
        print(f"out of memory: {self.setting} is {largest // 2} from now on, not {self.size}", file=sys.stderr, flush=True)
        self.size = largest // 2
