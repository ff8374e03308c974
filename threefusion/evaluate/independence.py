"""The judge of results, which must not be the model that guided the run."""

from __future__ import annotations

from pathlib import Path

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.guidance.prior.models import BUNDLED, guiding_models, local_folder
from threefusion.machine.files import read_json

BUNDLED_JUDGE = BUNDLED / "toyworld-judge"
"""The CLIP model that evaluates unless another one is given."""


def refuse_guiding_model(config: RunConfig, judge: Path) -> None:
    """Raise if `judge` is the prior of the run.

    They are the same if one folder contains the other, links resolved, or if the judge's files name the prior.

    Raises:
        UserError: they are the same model.
    """
    for model in guiding_models(config):
        if _is_same(model, judge):
            raise UserError(f"--clip {judge}: this model guided the run ({model}) and cannot evaluate it; use another one")


def _is_same(model: str, judge: Path) -> bool:
    """Whether a prior's name and a folder are the same model."""
    try:
        folder = local_folder(model)
    except UserError:  # the prior may have been moved since
        folder = None
    judge = judge.resolve()
    if folder is not None:
        prior = folder.resolve()
        if prior == judge or prior in judge.parents or judge in prior.parents:
            return True
    return model in (_name(judge), "/".join(_hub_id(judge)))


def _name(folder: Path) -> str | None:
    """Source of the model according to its files."""
    return (read_json(folder / "config.json") or {}).get("_name_or_path")


def _hub_id(folder: Path) -> tuple[str, ...]:
    """Owner and name of a folder in the Hugging Face cache, models--owner--name/snapshots/revision; else empty."""
    for part in folder.parts:
        if part.startswith("models--"):
            return tuple(part.split("--")[1:])
    return ()
