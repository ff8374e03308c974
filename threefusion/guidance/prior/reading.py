"""Reads the frozen networks of a model folder, and refuses weights that do not fit them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from threefusion.errors import first_line
from threefusion.guidance.prior.files import ModelError, network_files

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16}
"""Half precisions by their names in a safetensors file."""


def read_network(cls: type, folder: Path, dtype: torch.dtype | None = None) -> nn.Module:
    """A network of diffusers or transformers in evaluation mode, by default in the precision of its file.

    Both libraries read a file that lacks weights without an exception, and leave them random or without memory.

    Raises:
        ModelError: a weight is missing, surplus or of another shape, or the files cannot be read.
    """
    variant, files = network_files(folder)
    options: dict[str, Any] = {"variant": variant or None, "use_safetensors": True, "local_files_only": True}
    if cls.__module__.startswith("transformers"):
        # with this, other shapes are listed; without, they are an error that does not name them
        options |= {"dtype": dtype or stored_dtype(folder), "ignore_mismatched_sizes": True}
    else:
        options[dtype_keyword()] = dtype or stored_dtype(folder)
    silence()
    try:
        network, info = cls.from_pretrained(folder, output_loading_info=True, **options)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = first_line(error).partition(" If you want")[0]
        raise ModelError(f"{folder}: cannot be read as {cls.__name__} ({reason})") from error
    if fault := misfit(info):
        raise ModelError(f"{files[0] if len(files) == 1 else folder}: {fault}")
    return network.eval()


def read_weights(network: nn.Module, folder: Path, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict) -> nn.Module:
    """The network in evaluation mode with the weights in `folder`, by the names that `rename` gives them.

    Raises:
        ModelError: a weight is missing, surplus or of another shape, or a file cannot be read.
    """
    files = [file for file in network_files(folder)[1] if file.suffix == ".safetensors"]
    try:
        weights = rename({name: value for file in files for name, value in load_file(file).items()})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be read ({first_line(error)})") from error
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    differing = [(name, value.shape, wanted[name]) for name, value in weights.items() if name in wanted]
    info = {
        "missing_keys": wanted.keys() - weights.keys(),
        "unexpected_keys": weights.keys() - wanted.keys(),
        "mismatched_keys": [(name, stored, shape) for name, stored, shape in differing if stored != shape],
    }
    if fault := misfit(info):
        raise ModelError(f"{files[0] if len(files) == 1 else folder}: {fault}")
    network.load_state_dict(weights, assign=True)
    return network.eval()


def read_tokenizer(cls: type, folder: Path, **options: Any) -> PreTrainedTokenizerBase:
    """A tokenizer of transformers, which builds an empty one where the vocabulary is missing.

    Raises:
        ModelError: it cannot be read, or its vocabulary is empty.
    """
    try:
        tokenizer = cls.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # the tokenizers library raises that
        raise ModelError(f"{folder}: cannot be read as a tokenizer ({first_line(error)})") from error
    # T5's empty tokenizer knows its word separator
    if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
        raise ModelError(f"{folder}: the vocabulary is empty, all texts would be the same")
    return tokenizer


def misfit(info: dict[str, Any]) -> str | None:
    """How weights differ from those that the network wants, by `output_loading_info`; None if they fit."""
    missing = sorted(info.get("missing_keys") or ())
    # numbers from 0 on that files of transformers before 4.31 have, Stable Diffusion's among them
    surplus = sorted(name for name in info.get("unexpected_keys") or () if not name.endswith("embeddings.position_ids"))
    if shapes := sorted(info.get("mismatched_keys") or ()):
        name, stored, wanted = shapes[0]
        return f"the weight {name} has the shape {tuple(stored)}, but config.json wants {tuple(wanted)}{_more(shapes)}"
    if missing:
        return f"the weight {missing[0]} is missing{_more(missing)}{_instead(missing[0], surplus)}"
    return f"the weight {surplus[0]} belongs to no layer that config.json describes{_more(surplus)}" if surplus else None


def _more(names: Sequence[object]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _instead(missing: str, surplus: Sequence[str]) -> str:
    """What a file has in place of a weight."""
    if any("lora_" in name or ".base_layer." in name for name in surplus):
        return "; the file holds a LoRA that was not merged"
    # `module.` of DataParallel, `_orig_mod.` of torch.compile, CLIP's `text_model.`
    renamed = next((name for name in surplus if name.endswith(missing) or missing.endswith(name)), None)
    return f"; the file has it as {renamed}" if renamed else f"; the file has {surplus[0]} instead" if surplus else ""


def silence() -> None:
    """Turn off the libraries' progress bars and their reports of weights, which end here as errors."""
    from diffusers.utils.logging import disable_progress_bar as disable_bar_of_diffusers
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    disable_bar_of_diffusers()
    for name in ("transformers", "diffusers"):
        logging.getLogger(name).setLevel(logging.ERROR)


def stored_dtype(folder: Path) -> torch.dtype:
    """The precision of the weights in `folder`, from the header of its first safetensors file."""
    file = next(file for file in network_files(folder)[1] if file.suffix == ".safetensors")
    with safe_open(file, framework="pt") as weights:
        name = next(iter(weights.keys()), None)
        return DTYPES.get(weights.get_slice(name).get_dtype(), torch.float32) if name else torch.float32


def dtype_keyword() -> str:
    """The name of `from_pretrained`'s precision argument in the installed diffusers; renamed in 0.42."""
    import diffusers

    major, minor = (int(number) for number in diffusers.__version__.split(".")[:2])
    return "dtype" if (major, minor) >= (0, 42) else "torch_dtype"
