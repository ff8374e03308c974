"""A model must not judge what it has guided."""

from __future__ import annotations

import json
from pathlib import Path

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.guidance.prior.models import guiding_model, local_folder


def refuse_guiding_model(config: RunConfig, judge: Path) -> None:
    """Do nothing if `judge` is another model than the prior of the run.

    They are the same if one folder lies in the other, links followed, or if the judge's own files name the prior.

    Raises:
        UserError: they are the same.
    """
    model = guiding_model(config)
    if model is not None and _is_same(model, judge):
        raise UserError(f"--clip {judge}: this model guided the run ({model}), so it cannot judge it; name another one")


def _is_same(model: str, judge: Path) -> bool:
    """Whether a prior's name and a folder stand for one model."""
    try:
        folder = local_folder(model)
    except UserError:  # what guided a run may have been moved since
        folder = None
    judge = judge.resolve()
    if folder is not None:
        own = folder.resolve()
        if own == judge or own in judge.parents or judge in own.parents:
            return True
    return model in (_name(judge), "/".join(_hub_id(judge)))


def _name(folder: Path) -> str | None:
    """Where a model's files say that they come from."""
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_name_or_path")
    except (OSError, ValueError):
        return None


def _hub_id(folder: Path) -> tuple[str, ...]:
    """Owner and name of a folder in the cache of the hub's client, models--owner--name/snapshots/revision; else nothing."""
    for part in folder.parts:
        if part.startswith("models--"):
            return tuple(part.split("--")[1:])
    return ()
