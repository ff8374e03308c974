"""Train a run from its config or its newest checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.config import RunConfig
from threefusion.config.source import compared
from threefusion.errors import UserError
from threefusion.messages import (
    Ended,
    Noted,
    PageWritten,
    StageEnded,
    StagesLeft,
    Stopped,
    Trained,
    Warned,
    listening,
    send,
)
from threefusion.run.folder import (
    RUN_VARIABLE,
    checkpoint_step,
    latest_checkpoint,
    make_stage_folder,
    read_report,
    stage_folders,
    write_report,
    writing,
)
from threefusion.run.page import PAGE, add_page
from threefusion.run.session import Session
from threefusion.run.stages import RESUME, is_finished

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from threefusion.run.keep_settings import KeepSettings
    from threefusion.system.start import Source
    from threefusion.system.text_to_3d import TextTo3D


def train(config: RunConfig, run: Path, until: int | None = None, session: Session | None = None) -> int:
    """Train in the folder `run`, stage by stage, from its newest checkpoint if it has one, then export. Returns the exit code.

    A finished stage is not trained again. With `until`, stages after that one are not trained, and nothing is exported.
    Interrupted (Ctrl-C), it saves, says how to go on, and returns 130. Without a `session` it has the process for itself.
    """
    from threefusion.ops.backend import choose_backend
    from threefusion.registry import build
    from threefusion.run.keep_settings import KeepSettings
    from threefusion.run.loggers import trackers
    from threefusion.run.trainer import silence_libraries
    from threefusion.run.viewing import viewed

    silence_libraries()
    for exporter in config.exporters.values():
        build(exporter)  # a package that it lacks is named before the training, not after it
    choose_backend(config.ops.backend)
    keep = KeepSettings(run, config)
    with writing(run), listening(*trackers(config, run)), ending(run) as codes, viewed(keep) as live:
        try:
            last = len(config.parts) - 1 if until is None else until
            code = train_stages(keep, live, last, session or Session())
        except KeyboardInterrupt:  # between the steps of two stages, or in the export
            if not any(map(latest_checkpoint, stage_folders(run, config))):
                raise
            send(Stopped(run, "", None, f"{RESUME} {run}"))
            code = 130
        finally:
            added = add_page(run, keep.config)
        if added and not code:
            send(PageWritten(run / PAGE))
        if not code and until is None and RUN_VARIABLE not in os.environ:
            for warning in (read_report(run) or {}).get("warnings", ()):
                send(Warned(warning))
        codes.append(code)
        return code


@contextmanager
def ending(run: Path) -> Iterator[list[int]]:
    """Says at the end of the block with which exit code the run has ended, which it puts into the list."""
    codes: list[int] = []
    try:
        yield codes
    except BaseException as error:
        codes.append(exit_code(error))
        raise
    finally:
        send(Ended(run, codes[0]))


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ends with this error."""
    return 2 if isinstance(error, UserError) else 130 if isinstance(error, KeyboardInterrupt) else 1


def train_stages(keep: KeepSettings, live: list[pl.Callback], until: int, session: Session) -> int:
    """Train the stages up to `until` that are not finished; returns the exit code."""
    from threefusion.run.checkpoint import load_stage
    from threefusion.system.start import Source

    config, run = keep.config, keep.run
    previous, folders = None, stage_folders(run, config)
    # decided once, before other processes can differ; the last stage is trained on in any case, be it for no step
    unfinished = [index for index, folder in enumerate(folders[:-1]) if not is_finished(folder)]
    for index in range(until + 1):
        if index >= min([*unfinished, len(folders) - 1]) and not train_stage(keep, index, previous, live, session):
            return 130
        if index < len(folders) - 1:
            # from its checkpoint, so that a resumed run starts the next stage from the very same
            with session.apart():
                loaded, name = load_stage(keep.config.parts[index], folders[index], previous), config.parts[index].name
            if loaded is None:
                raise UserError(f"stage {name} ended before its first step. Raise trainer.max_time")
            previous = Source(*loaded, f"stage {name}")
    if until < len(folders) - 1 and RUN_VARIABLE not in os.environ:
        send(StagesLeft(run, config.parts[until].name, f"{RESUME} {run}"))
    return 0


def train_stage(keep: KeepSettings, index: int, previous: Source | None, live: list[pl.Callback], session: Session) -> bool:
    """Train a stage of a run (or a run without stages) from its newest checkpoint if it has one; export after the last.

    Returns whether it was trained to its end, in every process alike.
    """
    from threefusion.callback.announcer import Announcer
    from threefusion.callback.run_cost import RunCost
    from threefusion.run.cost import measured_cost
    from threefusion.run.launcher import together
    from threefusion.run.trainer import friendly_oom, make_trainer

    config, run = keep.config, keep.run
    stage, folder = config.parts[index], stage_folders(run, config)[index]
    make_stage_folder(folder)
    checkpoint = latest_checkpoint(folder)
    with session.apart():
        system, digest = build_stage(stage, checkpoint, previous, session)
    interrupt, run_cost, first = session.interrupt(), RunCost(), checkpoint_step(checkpoint)
    name = stage.name if config.stages else ""
    announcer = Announcer(run, name, sum(part.trainer.max_steps for part in config.parts[:index]))
    more = [announcer, *session.callbacks(), keep, *live, interrupt, run_cost]
    trainer = make_trainer(stage, folder, more, first, digest, [announcer])
    with session.training(run), together(trainer), friendly_oom(), session.threads(small_steps(system)):
        trainer.fit(system, ckpt_path=checkpoint, weights_only=True)
        refuse_lost(system, run)
        interrupted = trainer.strategy.reduce_boolean_decision(interrupt.requested, all=False)
    if trainer.is_global_zero and not interrupted:
        say_if_short(trainer, first)
    is_last = index == len(config.parts) - 1
    cut_short = interrupted and trainer.global_step < trainer.max_steps
    if is_last or cut_short:
        session.ends()
    if trainer.is_global_zero and not cut_short:
        with session.apart():
            conclude(keep.config, index, run, system, measured_cost(system, run_cost, read_report(folder)))
    if interrupted and (cut_short or not is_last):
        if trainer.is_global_zero:
            session.stopped(Stopped(run, name, trainer.global_step, f"{RESUME} {run}"))
        return False
    return True


def build_stage(
    stage: RunConfig, checkpoint: Path | None, previous: Source | None, session: Session
) -> tuple[TextTo3D, int | None]:
    """The system of a stage that goes on from a checkpoint if there is one, and the digest of the metrics before."""
    from threefusion.run.checkpoint import PARTS, read_checkpoint
    from threefusion.run.source import starting_scene
    from threefusion.system.build import build_system

    # Lightning reads it again, and would not say what is wrong with which file
    saved = {} if checkpoint is None else read_checkpoint(checkpoint, PARTS)
    # a checkpoint has all that was taken from elsewhere, but not what an objective compares with
    start = previous if checkpoint and not compared(stage) else starting_scene(stage, previous)
    return build_system(stage, start, checkpoint is not None, session.prior), saved.get("metrics_digest")


def refuse_lost(system: TextTo3D, run: Path) -> None:
    """End a run whose steps are not finite any more.

    Raises:
        UserError: with the remedy.
    """
    from threefusion.system.finite import remedy

    if system.problem:
        setting = remedy(system.config, system.guidance)
        advice = f"Resume with: {RESUME} {run} {setting}" if setting else "Lower optimizer.lr, or look for a damaged model"
        raise UserError(f"{system.problem}. {advice}")


def say_if_short(trainer: pl.Trainer, first: int) -> None:
    """Say why a training has taken no step from `first` on, or fewer than `trainer.max_steps`."""
    timed_out = trainer.max_steps == -1 or trainer.global_step < trainer.max_steps
    if trainer.global_step == first:
        over = "trainer.max_time, which counts all parts of a run, is over"
        reason = over if timed_out else f"trainer.max_steps={trainer.max_steps}"
        send(Noted(f"nothing to train after step {first}: {reason}"))
    elif timed_out:
        send(Noted(f"trainer.max_time ended the training at step {trainer.global_step}"))


def conclude(config: RunConfig, index: int, run: Path, system: TextTo3D, cost: dict[str, Any]) -> None:
    """Write the report of a stage, which marks it as finished; after the last one export."""
    from threefusion.run.cost import total_cost
    from threefusion.run.results import finish
    from threefusion.system.coverage import seen_texels

    folders, started = stage_folders(run, config), {"start": system.scene.origin} if system.scene.origin else {}
    seen = seen_texels(system.scene.geometry)
    facts = {} if seen is None else {"seen_texels": round(seen, 4)}
    if config.stages:
        name = config.stages[index].name
        cost = {"name": name, **started, **facts, **cost}
        send(StageEnded(run, name, cost))
        write_report(folders[index], cost)
        if folders[index] != folders[-1]:
            return
        cost = facts | total_cost([read_report(folder) for folder in folders])
    else:
        cost = started | facts | cost
    send(Trained(run, cost))
    # Lightning has put the scene back into main memory; what follows is rendered where it was trained
    device = system.trainer.strategy.root_device
    system.scene.to(device)
    system.renderer.to(device)
    finish(run, config, system, cost)


def small_steps(system: TextTo3D) -> bool:
    """Whether the steps are so small that one thread is enough."""
    import torch

    from threefusion.run.threads import is_small

    views = system.camera.batch_size
    camera = system.camera.sample(0, system.config.seed, torch.arange(views)).camera
    return is_small(views * camera.height * camera.width, max((prior.largest_layer(views) for prior in system.priors), default=0))
