"""Priors whose models are not on this machine: the size of their weights, and a stand-in for their networks."""

from __future__ import annotations

from dataclasses import replace

import torch

from threefusion.config import RunConfig, Settings
from threefusion.guidance.prior.known_models import MODELS, NETWORKS
from threefusion.guidance.prior.models import local_folder, on_this_machine
from threefusion.guidance.prior.precision import HALF
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import entry_of

STAND_IN = GaussianConfig(image_size=64)
"""The closed-form prior, which has no networks."""


def missing_priors(config: RunConfig) -> list[Settings]:
    """The settings of all priors whose model would have to be downloaded, each once; nothing is.

    Raises:
        ModelError: the name is that of no model, or of a folder that does not exist.
    """
    priors = [getattr(objective, "prior", None) for objective in config.guidance.values()]
    return [prior for index, prior in enumerate(priors) if prior not in priors[:index] and absent_models(prior)]


def absent_models(prior: Settings | None) -> list[str]:
    """The names of the models of a prior that would have to be downloaded."""
    cls = None if prior is None else entry_of(prior).load()
    if not hasattr(cls, "encoder_parts"):
        return []
    wanted = [(prior.model, (*cls.parts, *cls.encoder_parts), prior.revision)]
    wanted += [(control.model, NETWORKS["controlnet"], None) for control in getattr(prior, "control", ())]
    if autoencoder := getattr(prior, "autoencoder", None):
        wanted.append((autoencoder, NETWORKS["autoencoder"], None))
    return [name for name, *of in wanted if local_folder(name) is None and on_this_machine(name, *of) is None]


def with_stand_ins(config: RunConfig, missing: list[Settings]) -> RunConfig:
    """The run with `STAND_IN` in place of the missing priors."""
    replaced = {
        name: replace(objective, prior=STAND_IN)
        for name, objective in config.guidance.items()
        if getattr(objective, "prior", None) in missing
    }
    return replace(config, guidance={**config.guidance, **replaced})


def missing_weights(prior: Settings) -> int | None:
    """Bytes of the networks' weights, in half precision unless `dtype` is set; None for a model of unknown size."""
    known = MODELS.get(prior.model)
    return known.parameters * HALF.get(prior.dtype, torch.float16).itemsize if known and known.parameters else None


def has_critic(config: RunConfig, prior: Settings) -> bool:
    """Whether an objective trains a copy of the prior."""
    return any(
        hasattr(objective, "critic") for objective in config.guidance.values() if getattr(objective, "prior", None) == prior
    )


def missing_note(prior: Settings, critic: bool = False) -> str:
    """What the plan leaves out because of the missing model; with a `critic`, a copy of it is trained."""
    left_out = "its activations and its critic are not" if critic else "its activations are not"
    names = " and ".join(absent_models(prior))
    if missing_weights(prior) is None:
        return f"{names} is not on this machine and its size is unknown: the prior's networks are not counted"
    return f"{names} is not on this machine: the prior's weights are counted by their number, {left_out}"
