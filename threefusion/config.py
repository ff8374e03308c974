"""What a config is made of, and the way from YAML and overrides to one checked, typed, frozen tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from threefusion.errors import UserError


@dataclass(frozen=True)
class Choice:
    """A component named in a config, checked but not built: kind, registered name, and the settings it was given."""

    kind: str
    name: str
    settings: tuple[tuple[str, Any], ...] = ()


def choose(kind: str, name: str, **settings: Any) -> Choice:
    """A `Choice` written in Python rather than YAML."""
    return Choice(kind, name, tuple(settings.items()))


def slot(kind: str, default: str | None) -> Any:
    """A dataclass field that names a nested component of `kind`; `default` is a registered name, or None for no component.

    Annotate it `Choice` (or `Choice | None`) and build it with `threefusion.registry.build(cfg.field, ...)`.
    """
    return field(default=None if default is None else Choice(kind, default), metadata={"kind": kind})


class ConfigError(UserError):
    """Something in a config is wrong; the message begins with the file and line, or with `command line`."""

    def __init__(self, problem: str, place: object) -> None:
        super().__init__(f"{place}: {problem}")
        self.problem = problem
        self.place = place


@dataclass(frozen=True)
class OutputConfig:
    """What a run leaves behind while it trains and when it has ended."""

    image_interval: int = 200
    """Steps between preview pictures."""
    image_size: int = 128
    """Height and width of the preview pictures, in pixels."""
    turntable_frames: int = 60
    """Frames of the video that turns once round the result."""
    turntable_size: int = 256
    """Height and width of the video, in pixels; an even number."""
    checkpoint_interval: int = 200
    """Steps between checkpoints."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints are kept."""

    def __post_init__(self) -> None:
        for name in ("image_interval", "image_size", "turntable_frames", "checkpoint_interval", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")
        if self.turntable_size < 2 or self.turntable_size % 2:
            raise ValueError("turntable_size: an even number of at least 2")


Backend = Literal["auto", "torch", "numba", "triton", "tinycudann", "nerfacc"]


@dataclass(frozen=True)
class OpsConfig:
    """What computes the hot operations while a run trains."""

    backend: Backend = "auto"
    """`auto`: numba on processors, Triton on CUDA, torch elsewhere and where these are missing; the environment variable
    THREEFUSION_OPS decides what it means. `torch` is the reference; `tinycudann` and `nerfacc` are other projects' kernels."""


@dataclass(frozen=True)
class FacingConfig:
    """Looks whether the scene faces the way the words say, and turns it round if the prior sees it from behind."""

    steps: tuple[int, ...] = ()
    """Optimiser steps before which to look; never by default. Late enough for a shape, early enough for details to follow."""
    views: int = 16
    """How many views are drawn; the prior is asked about those whose words would change."""

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError("views: at least 1")


@dataclass(frozen=True)
class CsvConfig:
    """metrics.csv in the run folder, which is always written, and nothing else."""


@dataclass(frozen=True)
class WandbConfig:
    """Weights & Biases, beside metrics.csv."""

    mode: Literal["online", "offline", "disabled"] = "online"
    """`offline` writes to the run folder and needs no account; `wandb sync` uploads it later."""
    project: str = "threefusion"
    """Project the run is filed under."""
    entity: str | None = None
    """User or team; null is the logged-in user's default."""
    name: str | None = None
    """Name of the run; null is the name of the run folder."""
    group: str | None = None
    """Runs with the same group are shown together."""
    job_type: str | None = None
    """A label for the kind of run."""
    tags: list[str] = field(default_factory=list)
    """Words to find the run by."""
    notes: str | None = None
    """A longer description."""
    dir: Path | None = None
    """Folder for the client's files; null is the run folder."""


@dataclass(frozen=True)
class TensorboardConfig:
    """TensorBoard event files in the run folder, beside metrics.csv."""

    name: str | None = None
    """Folder of the event files inside the run folder."""


LOGGERS: dict[str, type] = {"csv": CsvConfig, "wandb": WandbConfig, "tensorboard": TensorboardConfig}


@dataclass(frozen=True)
class RunConfig:
    """A whole run: every part is named, every value has its type, and all of it was checked."""

    seed: int
    """All random numbers of a run follow from it."""
    name: str
    """Runs are filed under runs/<name>."""
    prompt: Choice
    camera: Choice
    geometry: Choice
    material: Choice
    background: Choice
    renderer: Choice
    guidance: Choice
    losses: dict[str, Choice]
    """`loss` in YAML: by name, in the order written."""
    optimizer: Choice
    exporter: Choice | None
    """None when nothing is to be exported, as for a picture."""
    trainer: dict[str, Any]
    """Arguments of `pytorch_lightning.Trainer`, only those given."""
    logger: dict[str, Any]
    """`type` and those of its fields that are not empty."""
    output: OutputConfig
    ops: OpsConfig = OpsConfig()
    facing: FacingConfig = FacingConfig()
    plugins: tuple[str, ...] = ()
    """Folders that hold the plugins among the components, so that the run can be opened from anywhere."""


def load_config(path: Path, overrides: list[str]) -> RunConfig:
    """The config in a YAML file and those that it extends, with `key=value` overrides, checked as a whole.

    Raises:
        ConfigError: in one line, what is wrong where, what was expected, and the nearest valid name.
    """
    from threefusion.check import check_run

    return check_run(path, overrides)


def config_to_yaml(config: RunConfig) -> str:
    """The config as YAML that loads to an equal config, every default written out."""
    from threefusion.dump import dump

    return dump(config)
