"""Missing models: the size of their weights by shapes, and a stand-in for their networks."""

from __future__ import annotations

from dataclasses import replace

import torch

from threefusion.config import RunConfig, Settings
from threefusion.guidance.prior.architectures import ARCHITECTURES, Architecture
from threefusion.guidance.prior.models import TEXT_PARTS, cached, complete, local_folder, sources
from threefusion.guidance.prior.precision import HALF
from threefusion.guidance.prior.pretrained import network_class
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import entry_of

STAND_IN_SIZE = 64


def prior_settings(config: RunConfig) -> Settings:
    """The prior of a run's first objective."""
    return next(iter(config.guidance.values())).prior


def missing_model(config: RunConfig) -> str | None:
    """The model of the prior if it would have to be downloaded; nothing is.

    Raises:
        ModelError: the name is that of no model, or of a folder that does not exist.
    """
    chosen = prior_settings(config)
    parts = getattr(entry_of(chosen).load(), "parts", None)
    if parts is None:
        return None
    if local_folder(chosen.model) is not None:
        return None
    folders = [cached(source) for source in sources(chosen.model, chosen.revision)]
    there = any(folder is not None and complete(folder, (*parts, *TEXT_PARTS)) for folder in folders)
    return None if there else chosen.model


def with_stand_in(config: RunConfig) -> RunConfig:
    """The run with the closed-form prior, which has no networks, in place of its own."""
    stand_in = GaussianConfig(image_size=STAND_IN_SIZE)
    return replace(config, guidance={name: replace(objective, prior=stand_in) for name, objective in config.guidance.items()})


def missing_weights(config: RunConfig) -> int | None:
    """Bytes of the networks' weights, in half precision unless `guidance.prior.dtype` is set; None for an unknown shape."""
    chosen = prior_settings(config)
    architecture = ARCHITECTURES.get(chosen.model)
    return None if architecture is None else weight_bytes(architecture, HALF.get(chosen.dtype, torch.float16))


def weight_bytes(architecture: Architecture, dtype: torch.dtype) -> int:
    """Bytes of the weights of a U-Net and its autoencoder, built on the meta device, which allocates nothing."""
    parts = {"unet": architecture.unet, "vae": architecture.vae}
    with torch.device("meta"):
        networks = [network_class(part)(**settings) for part, settings in parts.items() if settings is not None]
    return sum(parameter.numel() for network in networks for parameter in network.parameters()) * dtype.itemsize


def missing_note(config: RunConfig) -> str:
    """What the plan leaves out because of the missing model."""
    model = prior_settings(config).model
    if model in ARCHITECTURES:
        return f"{model} is not on this machine: its weights are counted by their shapes, its activations are not"
    return f"{model} is not on this machine and its shape is unknown: its networks are not counted"
