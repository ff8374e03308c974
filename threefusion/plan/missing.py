"""A model that is not on this machine: planned by its shape."""

from __future__ import annotations

from dataclasses import replace

import torch

from threefusion.config import Choice, RunConfig, choose
from threefusion.guidance.prior.architectures import ARCHITECTURES
from threefusion.guidance.prior.models import TEXT_PARTS, cached, complete, local_folder, sources
from threefusion.guidance.prior.precision import HALF
from threefusion.plan.network import NetworkMemory, network_memory
from threefusion.registry import lookup, settings

_UNKNOWN_SIZE = 64


def prior_choice(config: RunConfig) -> Choice:
    """The prior that a run's guidance names."""
    return settings(config.guidance).prior


def missing_model(config: RunConfig) -> str | None:
    """The model of the prior if it is one that would have to be fetched; nothing is.

    Raises:
        ModelError: the name is that of no model, or of a folder that is not there.
    """
    choice = prior_choice(config)
    parts = getattr(lookup("prior", choice.name), "parts", None)
    if parts is None:
        return None
    chosen = settings(choice)
    if local_folder(chosen.model) is not None:
        return None
    folders = [cached(source) for source in sources(chosen.model, chosen.revision)]
    there = any(folder is not None and complete(folder, (*parts, *TEXT_PARTS)) for folder in folders)
    return None if there else chosen.model


def latent_size(config: RunConfig) -> int:
    """Height and width of the space in which the missing model works; a guess where its shape is not known."""
    chosen = settings(prior_choice(config))
    architecture = ARCHITECTURES.get(chosen.model)
    if architecture is None:
        return chosen.image_size or _UNKNOWN_SIZE
    factor = 1 if architecture.vae is None else 2 ** (len(architecture.vae["block_out_channels"]) - 1)
    return chosen.image_size // factor if chosen.image_size else architecture.unet["sample_size"]


def with_stand_in(config: RunConfig) -> RunConfig:
    """The run with the closed-form prior, which has no networks, in place of the missing model."""
    stand_in = choose("prior", "gaussian", image_size=latent_size(config))
    chosen = [(name, stand_in if name == "prior" else value) for name, value in config.guidance.settings]
    return replace(config, guidance=Choice("guidance", config.guidance.name, tuple(chosen)))


def missing_networks(config: RunConfig, views: int, inputs: int) -> NetworkMemory | None:
    """What the missing model would take for `views` images and `inputs` noised ones; None where its shape is not known.

    In half precision, as on a GPU, unless `guidance.prior.dtype` names another.
    """
    chosen = settings(prior_choice(config))
    architecture = ARCHITECTURES.get(chosen.model)
    if architecture is None:
        return None
    return network_memory(architecture, HALF.get(chosen.dtype, torch.float16), views, inputs, latent_size(config))


def missing_note(config: RunConfig) -> str:
    """What a reader has to know about such a plan."""
    model = settings(prior_choice(config)).model
    if model in ARCHITECTURES:
        return f"{model} is not on this machine: its networks are counted by their shapes, in the precision of a GPU"
    return f"{model} is not on this machine and its shape is not known here: its networks are not counted"
