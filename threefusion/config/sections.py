"""Settings of a run that are no component of the scene: output, backend, Lightning's trainer, loggers. Loads no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from threefusion.config.fields import Settings, bounded, check_folder_name
from threefusion.registry import component


@dataclass(frozen=True)
class OutputConfig(Settings):
    """What a run writes while it trains and at its end."""

    image_interval: int = bounded(200, 1, 10**9)
    """Steps between preview images."""
    image_size: int = bounded(128, 1, 4096)
    """Height and width of the preview images, in pixels."""
    turntable: Literal["mesh", "field"] = "mesh"
    """What the video at the end shows: the exported mesh, or the trained field, which takes several times as long. The field
    also where a run exports no mesh."""
    turntable_frames: int = bounded(60, 0, 10_000)
    """Frames of the video of one turn round the result; 0 for no video."""
    turntable_size: int = bounded(256, 2, 4096)
    """Height and width of the video, in pixels; an even number."""
    checkpoint_interval: int = bounded(200, 1, 10**9)
    """Steps between checkpoints."""
    keep_checkpoints: int = bounded(2, 1, 10**6)
    """How many of the newest checkpoints are kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turntable_size % 2:
            raise ValueError("turntable_size: expected an even number")


Backend = Literal["auto", "torch", "numba", "triton", "tinycudann", "nerfacc", "nvdiffrast"]


@dataclass(frozen=True)
class OpsConfig(Settings):
    """Which implementation of the hot operations a run uses."""

    backend: Backend = "auto"
    """`auto`: numba on processors, Triton on CUDA, torch elsewhere and where these are missing; the environment variable
    THREEFUSION_OPS decides what it means. `torch` is the reference; `tinycudann`, `nerfacc` and `nvdiffrast` are other projects'
    kernels."""


@dataclass(frozen=True)
class FacingConfig(Settings):
    """Checks whether the scene faces the way the prompt says, and turns it round if the prior sees it from behind."""

    steps: tuple[int, ...] = bounded((), 0, 10**9)
    """Optimiser steps before which to check; never by default. Late enough for a shape, early enough for details to follow."""
    views: int = bounded(16, 1, 1024)
    """How many views are rendered; the prior is evaluated on those whose texts change when the scene is turned."""


SET_BY_THE_RUN = {
    "logger": "use the section `logger`",
    "callbacks": "use the section `output`",
    "default_root_dir": "use --out",
    "max_epochs": "use trainer.max_steps",
    "enable_checkpointing": "use output.checkpoint_interval",
    "enable_progress_bar": "the run shows its own",
    "enable_model_summary": "the run prints what matters",
    "use_distributed_sampler": "views are divided between processes by the run itself",
}
"""Arguments of the trainer that the run decides, with what to use instead."""


@dataclass(frozen=True)
class TrainerConfig(Settings):
    """Arguments of `pytorch_lightning.Trainer`; null is Lightning's own default."""

    elsewhere: ClassVar[dict[str, str]] = {name: f"set by the run: {how}" for name, how in SET_BY_THE_RUN.items()}

    max_steps: int = bounded(10_000, -1, 10**9)
    """Optimiser steps of the training; -1 for no limit but `max_time`."""
    max_time: str | None = None
    """Longest duration of the training, as DD:HH:MM:SS."""
    min_steps: int | None = bounded(None, 0, 10**9)
    """Optimiser steps that are made even if `max_time` is over."""
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"] = "auto"
    """What kind of device computes."""
    devices: Any = 1
    """Number of devices, `auto`, or a list of their indices."""
    num_nodes: int = bounded(1, 1, 10_000)
    """Number of machines. `torchrun` and `srun` set it and `devices` themselves."""
    collective_timeout: int = bounded(300, 1, 10**6)
    """Seconds that a process waits for the others; then the job ends and says why."""
    strategy: str | None = None
    """How several processes work together; null is `ddp_find_unused_parameters_true` for several and `auto` for one."""
    precision: Literal[32, 16, "32", "16", "bf16", "32-true", "16-mixed", "bf16-mixed"] | None = None
    """Precision of the training; 16 and bf16 are short for mixed: parameters, their gradients and all kernels stay in float32."""
    accumulate_grad_batches: int = bounded(1, 1, 10_000)
    """Batches of views whose gradients make up one optimiser step."""
    gradient_clip_val: int | float | None = bounded(None, 0, 1e9)
    """Largest norm (or value) of the gradient."""
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    """What `gradient_clip_val` limits."""
    limit_train_batches: int | float | None = None
    """Batches of an epoch: a whole number from 1 up, or a fraction above 0 up to 1."""
    log_every_n_steps: int = bounded(10, 1, 10**9)
    """Steps between rows of the metrics."""
    deterministic: bool | Literal["warn"] | None = None
    """Use deterministic algorithms only."""
    benchmark: bool | None = None
    """Let cuDNN try several algorithms."""
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = None
    """Profiler of the training."""
    detect_anomaly: bool = False
    """Look for the operation that made a gradient NaN; slow."""
    sync_batchnorm: bool = False
    """Share the statistics of batch norms between processes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_time is not None and not re.fullmatch(r"\d+:\d{1,2}:\d{1,2}:\d{1,2}", self.max_time):
            raise ValueError("max_time: expected DD:HH:MM:SS")
        if self.max_steps == -1 and self.max_time is None:
            raise ValueError("max_steps: -1 needs trainer.max_time")
        limit = self.limit_train_batches
        if limit is not None and not (0 < limit <= 1 if isinstance(limit, float) else 1 <= limit < 10**9):
            raise ValueError("limit_train_batches: expected a whole number from 1 up, or a fraction above 0 up to 1")
        if self.strategy is not None and self.strategy.split("_")[0] not in ("auto", "ddp", "fsdp", "deepspeed", "single", "xla"):
            raise ValueError("strategy: expected auto, ddp, ddp_spawn, fsdp, deepspeed or another strategy of Lightning")
        if not _are_devices(self.devices):
            raise ValueError("devices: expected a number of devices from 1 up, auto, or a list of device indices")
        if self.gradient_clip_val and "16" in str(self.precision):
            raise ValueError(
                f"gradient_clip_val: not under precision {self.precision!r}: Lightning clips no fused optimiser there"
            )

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of Lightning's trainer."""
        several = self.devices not in (1, "1", [0]) or self.num_nodes > 1
        # A rank may leave a parameter unused (albedo against lit, rays that all miss): plain DDP would wait for it for ever.
        strategy = {"strategy": "ddp_find_unused_parameters_true"} if several else {}
        return strategy | {
            name: value for name, value in vars(self).items() if value is not None and name != "collective_timeout"
        }


def _are_devices(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    whole = all(isinstance(item, int) and not isinstance(item, bool) for item in items)
    if isinstance(value, str):
        return re.fullmatch(r"auto|-1|\d+(,\d+)*", value) is not None
    return whole and bool(items) and (min(items) >= 0 if isinstance(value, list) else value == -1 or 1 <= value <= 1024)


RESERVED = frozenset(
    """guidance loss opacity step T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items keys
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop register_buffer
    register_module register_parameter requires_grad_ share_memory state_dict set_extra_state set_submodule smart_apply to
    to_empty train training type update values xpu zero_grad""".split()
)
"""Names that metrics or torch's modules use for something else; transformers adds `smart_apply` to all modules."""


@component("logger", "csv", "threefusion.run.loggers:no_logger")
@dataclass(frozen=True)
class CsvConfig(Settings):
    """metrics.csv in the run folder, which is always written, and nothing else."""


@component("logger", "wandb", "threefusion.run.loggers:wandb_logger")
@dataclass(frozen=True)
class WandbConfig(Settings):
    """Weights & Biases, beside metrics.csv."""

    mode: Literal["online", "offline", "disabled"] | None = None
    """`offline` writes to the run folder and needs no account; `wandb sync` uploads it later. Null is WANDB_MODE, else online."""
    project: str | None = None
    """Project the run is filed under; null is WANDB_PROJECT, else threefusion."""
    entity: str | None = None
    """User or team; null is the logged-in user's default."""
    name: str | None = None
    """Name of the run; null is WANDB_NAME, else the name of the run folder."""
    group: str | None = None
    """Runs with the same group are shown together."""
    job_type: str | None = None
    """A label for the kind of run."""
    tags: list[str] = field(default_factory=list)
    """Words to find the run by."""
    notes: str | None = None
    """A longer description."""

    def given(self) -> dict[str, Any]:
        """The fields that are not empty, as arguments of the client."""
        return {name: value for name, value in vars(self).items() if value not in (None, [])}


@component("logger", "tensorboard", "threefusion.run.loggers:tensorboard_logger")
@dataclass(frozen=True)
class TensorboardConfig(Settings):
    """TensorBoard event files in the run folder, beside metrics.csv."""

    name: str = "tensorboard"
    """Folder of the event files inside the run folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder_name("name", self.name)
