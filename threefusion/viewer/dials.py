"""Settings that may be changed while a training runs, and what a change makes of a config."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from threefusion.config import RunConfig, Schedule
from threefusion.viewer.viewer import Dial

if TYPE_CHECKING:
    from threefusion.component import Component

FIELDS = {"guidance": ("guidance_scale", "t_min", "t_max", "weight"), "losses": ("weight",)}
"""Schedules of objectives and of loss terms that can be changed."""
SHARES = frozenset({"t_min", "t_max"})
"""Those that lie between 0 and 1."""


@dataclass(frozen=True)
class Setting:
    """A schedule in a config: that of `optimizer`, or of the component `name` in the dictionary `section`."""

    path: str
    """As in YAML."""
    section: str
    name: str
    field: str

    def of(self, config: RunConfig) -> Schedule:
        """Its schedule."""
        return getattr(self._holder(getattr(config, self.section)), self.field)

    def component(self, system: Any) -> Component:
        """The component of a system that reads it."""
        return system.optimizer_factory if self.section == "optimizer" else getattr(system, self.section)[self.name]

    def changed(self, config: RunConfig, step: int, value: float) -> RunConfig:
        """The config in which it is `value` from `step` on, and before as it was.

        Raises:
            ValueError: the value is out of range.
        """
        part = getattr(config, self.section)
        settings = replace(self._holder(part), **{self.field: from_step(self.of(config), step, value)})
        return replace(config, **{self.section: {**part, self.name: settings} if self.name else settings})

    def _holder(self, part: Any) -> Any:
        return part[self.name] if self.name else part


def settings_of(config: RunConfig) -> Iterator[Setting]:
    """All settings of a run without stages, or of a stage, that can be changed."""
    for section, names in FIELDS.items():
        for name, settings in getattr(config, section).items():
            key = "loss" if section == "losses" else section
            start = key if list(getattr(config, section)) == [key] else f"{key}.{name}"
            for field in names:
                if isinstance(getattr(settings, field, None), Schedule):
                    yield Setting(f"{start}.{field}", section, name, field)
    if isinstance(getattr(config.optimizer, "schedule", None), Schedule):
        yield Setting("optimizer.schedule", "optimizer", "", "schedule")


def dials_of(config: RunConfig, step: int) -> list[Dial]:
    """The settings with their values at `step`, each with the range of a slider."""
    dials = []
    for setting in settings_of(config):
        schedule = setting.of(config)
        high = 1.0 if setting.field in SHARES else 2 * schedule.largest or 1.0
        dials.append(Dial(setting.path, schedule(step), 0.0, high))
    return dials


def from_step(schedule: Schedule, step: int, value: float) -> Schedule:
    """The schedule that is `value` from `step` on, and before as it was.

    >>> from_step(Schedule.constant(100.0), 40, 50.0).knots
    ((0, 100.0), (39, 100.0), (40, 50.0))
    """
    before = [knot for knot in schedule.knots if knot[0] < step - 1]
    last = [(step - 1, schedule(step - 1))] if step else []
    return Schedule((*before, *last, (step, float(value))))


def turn(system: Any, path: str, step: int, value: float) -> RunConfig | None:
    """Change a setting of a system from `step` on; its new config, or None if there is no such setting or nothing changes.

    Raises:
        ValueError: the value is out of range.
    """
    setting = next((known for known in settings_of(system.config) if known.path == path), None)
    if setting is None or setting.of(system.config)(step) == value:
        return None
    changed = setting.changed(system.config, step, value)
    component = setting.component(system)
    component.cfg = replace(component.cfg, **{setting.field: setting.of(changed)})
    system.config = changed
    return changed
