"""Settings of the built-in prompt processors."""

from __future__ import annotations

import re
from dataclasses import dataclass

from threefusion.config.fields import Settings, bounded, literal
from threefusion.errors import did_you_mean, nearest
from threefusion.registry import component


@dataclass(frozen=True)
class PromptConfig(Settings):
    """What to make."""

    text: str = literal("")
    """What to make, in words; must be given."""
    negative: str = literal("")
    """Negative prompt; it replaces the empty prompt in classifier-free guidance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.text.strip():
            raise ValueError("text: must be given, e.g. --prompt 'a red car'")


@component("prompt", "plain", "threefusion.prompt.view_dependent:Plain")
@dataclass(frozen=True)
class PlainConfig(PromptConfig):
    """One text for all views."""


VIEWS = ("front", "side", "back", "overhead")


def without(text: str, words: list[str]) -> str:
    """The text without some of its words or phrases, whole ones only, in any case, and without the commas that they leave.

    >>> without("a smiling cat, happy face, in a hat", ["smiling", "happy face"])
    'a cat, in a hat'
    """
    for word in words:
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)\s*", "", text, flags=re.IGNORECASE) if word else text
    return re.sub(r"\s*(,\s*)+", ", ", text).strip(" ,")


@dataclass(frozen=True)
class ViewDependentConfig(PromptConfig):
    """A text per view, made from one."""

    template: str = literal("{prompt}, {view} view")
    """How a view's text is made; {prompt} is the text, {view} is front, side, back or overhead."""
    overhead_deg: float = bounded(60.0, 0, 90)
    """Elevation in degrees above which a view is overhead."""
    front: str | None = literal(None)
    """Text of front views, in place of the template."""
    side: str | None = literal(None)
    """Text of side views, in place of the template."""
    back: str | None = literal(None)
    """Text of back views, in place of the template."""
    overhead: str | None = literal(None)
    """Text of overhead views, in place of the template."""

    drop: dict[str, list[str]] = literal({})
    """Words of the text that contradict a view, by view, such as {back: [face, smiling]}: they are left out of its text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{prompt}" not in self.template:
            raise ValueError("template: must contain {prompt}")
        for view, words in self.drop.items():
            if view not in VIEWS:
                raise ValueError(f"drop: {view!r} is no view{nearest(view, VIEWS)}")
            if getattr(self, view):
                raise ValueError(f"drop: {view} has a text of its own, from which nothing is left out")
            for word in words:
                if without(self.text, [word]) == without(self.text, []):
                    near = did_you_mean(word, re.findall(r"\w+", self.text))
                    raise ValueError(f"drop: {view} names {word!r}, which is not in the text {self.text!r}{near}")
            if not without(self.text, words):
                raise ValueError(f"drop: {view} names every word of the text")


@component("prompt", "interpolated", "threefusion.prompt.view_dependent:Interpolated", gives=("blended-views",))
@dataclass(frozen=True)
class InterpolatedConfig(ViewDependentConfig):
    """View-dependent texts, blended."""


@component("prompt", "binned", "threefusion.prompt.view_dependent:Binned")
@dataclass(frozen=True)
class BinnedConfig(ViewDependentConfig):
    """View-dependent texts, one per view."""

    front_deg: float = bounded(45.0, 0, 180)
    """Views less than this many degrees from the front are front views."""
    back_deg: float = bounded(45.0, 0, 180)
    """Views less than this many degrees from the back are back views."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.front_deg + self.back_deg > 180:
            raise ValueError("front_deg: expected front_deg + back_deg of at most 180")
