"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PromptConfig:
    """What to make."""

    text: str = ""
    """What to make, in words; must be given."""
    negative: str = ""
    """What to keep away from, in words; takes the place of the empty prompt in classifier-free guidance."""

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise ValueError("text: must be given, e.g. --prompt 'a red car'")


@dataclass(frozen=True)
class PlainConfig(PromptConfig):
    """One text for all views."""


@dataclass(frozen=True)
class ViewDependentConfig(PromptConfig):
    """A text per view, made from one."""

    template: str = "{prompt}, {view} view"
    """How a view's text is made; {prompt} is the text, {view} is front, side, back or overhead."""
    overhead_deg: float = 60.0
    """Elevation in degrees above which a view is overhead."""
    front: str | None = None
    """The whole text of front views, if the template will not do."""
    side: str | None = None
    """The whole text of side views, if the template will not do."""
    back: str | None = None
    """The whole text of back views, if the template will not do."""
    overhead: str | None = None
    """The whole text of overhead views, if the template will not do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{prompt}" not in self.template:
            raise ValueError("template: must contain {prompt}")
        if not 0 <= self.overhead_deg <= 90:
            raise ValueError("overhead_deg: 0 to 90")


@dataclass(frozen=True)
class InterpolatedConfig(ViewDependentConfig):
    """View-dependent texts, blended."""


@dataclass(frozen=True)
class BinnedConfig(ViewDependentConfig):
    """View-dependent texts, one per view."""

    front_deg: float = 45.0
    """Views less than this many degrees from the front are front views."""
    back_deg: float = 45.0
    """Views less than this many degrees from the back are back views."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.front_deg, self.back_deg) < 0 or self.front_deg + self.back_deg > 180:
            raise ValueError("front_deg: at least 0, and front_deg + back_deg at most 180")
