"""Settings of the built-in prompt processors."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings, bounded, literal
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{prompt}" not in self.template:
            raise ValueError("template: must contain {prompt}")


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
