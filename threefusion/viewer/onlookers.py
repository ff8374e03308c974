"""Who looks from where, and whose picture comes next. Knows nothing of a training."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from threefusion.viewer.budget import SMALLEST
from threefusion.viewer.viewer import Chose, Event, Left, Looked, Pose

REST = 0.4
"""Seconds without movement after which a camera rests."""
COARSE = 96
"""Height of a picture while the camera moves, in pixels; smaller if not even that can be afforded."""
FINER = 4
"""A resting camera's next picture has so many times the pixels of the last one, until it is the finest."""

ENOUGH = 0.9
"""Share of the finest picture's pixels with which a picture of a scene that stands still is left as it is."""


@dataclass
class Onlooker:
    """One client."""

    pose: Pose
    moved: float
    """When the camera moved last."""
    drawn: float = -1.0
    """When the last picture was made."""
    pixels: int = 0
    """Of the last picture; 0 if there is none from this camera."""


class Onlookers:
    """All clients. They are served in turn; a moving camera gets coarse pictures at once, a resting one finer and finer ones."""

    def __init__(self, finest: int) -> None:
        self.finest = finest
        self.channel = ""
        """What all of them see."""
        self.clients: dict[int, Onlooker] = {}

    def __len__(self) -> int:
        return len(self.clients)

    def handle(self, event: Event, now: float) -> None:
        """Take note of what somebody does."""
        if isinstance(event, Left):
            self.clients.pop(event.client, None)
        elif isinstance(event, Looked):
            known = self.clients.get(event.client)
            if known is None:
                self.clients[event.client] = Onlooker(event.pose, now)
            else:
                known.pose, known.moved, known.pixels = event.pose, now, 0
        elif isinstance(event, Chose):
            self.channel = event.channel
            for looker in self.clients.values():
                looker.pixels = 0

    def next(self, affordable: int, largest: int, now: float, changing: bool = True) -> tuple[int, int] | None:
        """The client that is drawn now and the height of its picture; None if nothing should be drawn.

        Args:
            affordable: pixels that may be rendered now.
            largest: pixels that can ever be afforded at once.
            now: the time, in seconds.
            changing: whether the scene may have changed since the last picture.
        """
        for client, looker in sorted(self.clients.items(), key=lambda item: item[1].drawn):
            aspect, resting = looker.pose.aspect, now - looker.moved >= REST
            most = max(1, min(round(self.finest**2 * aspect), largest))
            if looker.pixels and resting:
                wanted = least = min(FINER * looker.pixels, most)
                if not changing and looker.pixels >= ENOUGH * most:
                    continue
            elif looker.pixels and not changing:
                continue
            else:
                wanted, least = round(COARSE**2 * aspect), min(SMALLEST, most)
            if affordable >= least:
                return client, max(1, int(sqrt(min(affordable, wanted, round(self.finest**2 * aspect)) / aspect)))
        return None

    def drew(self, client: int, height: int, now: float) -> None:
        """A client got its picture."""
        looker = self.clients[client]
        looker.drawn, looker.pixels = now, round(height**2 * looker.pose.aspect)
