"""Pipelines in one safetensors file, in the layout of the original code, recognised by their keys. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threefusion.guidance.prior.files import ModelError, safetensors_header

UNET = "model.diffusion_model."
"""Prefix of the U-Net's weights."""
AUTOENCODER = "first_stage_model."
"""Prefix of the autoencoder's weights."""
_FIRST = f"{UNET}input_blocks.0.0.weight"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
"""Endings of files that could run any program."""


@dataclass(frozen=True)
class Layout:
    """What a single file holds."""

    name: str
    marker: str
    """A key that only this layout has."""
    pipeline: str
    """The class of diffusers that reads it."""
    config: str | None
    """The model whose settings and tokenizer it has; None where several have these keys."""
    choices: tuple[str, ...] = ()
    """Those models."""


LAYOUTS = (
    Layout(
        "Stable Diffusion XL",
        "conditioner.embedders.1.model.token_embedding.weight",
        "StableDiffusionXLPipeline",
        "stable-diffusion-xl",
    ),
    Layout(
        "Stable Diffusion 1",
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
        "StableDiffusionPipeline",
        "stable-diffusion-1-5",
    ),
    Layout(
        "Stable Diffusion 2",
        "cond_stage_model.model.token_embedding.weight",
        "StableDiffusionPipeline",
        None,
        ("stable-diffusion-2-1-base", "stable-diffusion-2-1"),
    ),
)
_OTHERS = (
    ("lora", "a LoRA: add it to a model with guidance.prior.lora=[{path: FILE}]"),
    ("hada_", "a LyCORIS: not supported"),
    ("lokr_", "a LyCORIS: not supported"),
    ("emb_params", "a textual inversion: add it to a model with guidance.prior.textual_inversion=[FILE]"),
    ("control_model.", "a ControlNet, which needs a model beside it"),
    ("conditioner.embedders.0.model.", "the refiner of Stable Diffusion XL, which is not supported"),
    ("edm_mean", "Playground 2.5, whose EDM scaling is not implemented"),
    ("joint_blocks.", "Stable Diffusion 3 in one file, which is not supported: use its folder"),
    ("double_blocks.", "FLUX in one file, which is not supported: use its folder"),
    (
        "down_blocks.",
        "a single network in the layout of diffusers: it belongs into a folder with the other parts of its pipeline",
    ),
)
"""Pieces of the keys of other files, and what those are."""


def is_single_file(model: str) -> bool:
    """Whether a model's name is that of a file."""
    return Path(model).expanduser().is_file()


def layout_of(file: Path) -> Layout:
    """The layout of a pipeline in one file, by its keys and shapes.

    Raises:
        ModelError: it is a pickle, lacks a part, or is something else, which the message names.
    """
    if file.suffix in PICKLES:
        raise ModelError(f"{file}: a {file.suffix} file is a pickle, which could run any program: expected safetensors")
    header = safetensors_header(file)
    keys = header.keys() - {"__metadata__"}
    layout = next((layout for layout in LAYOUTS if layout.marker in keys), None)
    if _FIRST not in keys or layout is None:
        raise ModelError(f"{file}: {_described(keys)}")
    if (channels := header[_FIRST]["shape"][1]) != 4:
        raise ModelError(f"{file}: a U-Net with {channels} input channels, which takes an image too (inpainting): not supported")
    if not any(key.startswith(AUTOENCODER) for key in keys):
        raise ModelError(f"{file}: has no autoencoder: no key begins with {AUTOENCODER}")
    return layout


def _described(keys: Collection[str]) -> str:
    """What a file is that is no pipeline in a supported layout."""
    if what := next((what for piece, what in _OTHERS if any(piece in key for key in keys)), None):
        return what
    if _FIRST in keys:
        return "has a U-Net and no text encoder: expected a whole pipeline"
    some = ", ".join(sorted(keys)[:3]) or "no weights"
    return f"holds {some}: expected {', '.join(layout.name for layout in LAYOUTS)} in the layout of the original code"


def predicts_velocity(file: Path) -> bool:
    """Whether a file carries the mark of a network trained to predict velocity, as some variants of SDXL do."""
    return "v_pred" in safetensors_header(file)


def elements(header: dict[str, Any], prefix: str) -> int:
    """The number of values in the weights whose keys begin with `prefix`."""
    count = 0
    for key, entry in header.items():
        if key.startswith(prefix) and key != "__metadata__":
            size = 1
            for side in entry["shape"]:
                size *= side
            count += size
    return count
