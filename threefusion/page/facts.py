"""What the pages show of a run, as plain values. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunFacts:
    """What a gallery shows of a run."""

    folder: Path
    name: str
    """That of its config."""
    prompt: str
    seed: str
    state: str
    """finished, running, or stopped before its end."""
    begun: float
    """When, in seconds since 1970."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Every value of the config, by its dotted path."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    """By `section.key`, as `scores.MEANINGS` explains them."""
    warnings: tuple[str, ...] = ()
    picture: Path | None = None
    """The last preview."""


@dataclass(frozen=True)
class Curve:
    """One column of metrics.csv."""

    name: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class RunDetails:
    """What a run's own page shows beside its facts."""

    facts: RunFacts
    previews: tuple[tuple[int, Path], ...] = ()
    """With their steps, counted over all stages."""
    stages: tuple[tuple[str, int], ...] = ()
    """Names, and the step that each begins at; none for a run without stages."""
    curves: tuple[Curve, ...] = ()
    video: Path | None = None
    mesh: Path | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds."""
    base: str = ""
    """The config that the run was started with."""
    changes: tuple[tuple[str, str, str], ...] = ()
    """Settings that differ from it: path, value there, value of the run."""
    chosen: frozenset[str] = frozenset()
    """Types of components, and settings that differ from the defaults in the code."""
    commands: tuple[tuple[str, str], ...] = ()
    """What each does, and the command."""
    versions: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    """Results to open or download."""


@dataclass(frozen=True)
class SeedFacts:
    """What a preview shows of a seed."""

    seed: int
    run: Path
    picture: Path
    """Four sides of the scene, and their normals."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """By `section.key`, as `scores.MEANINGS` explains them."""
