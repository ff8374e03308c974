"""How odd model folders are made from plain ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from safetensors.torch import load_file, save_file

Change = Callable[[Path], object]
UNET, VAE = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
TEXT = "text_encoder/model.safetensors"


@dataclass(frozen=True)
class Case:
    """A folder in the layout of diffusers, odd in one respect."""

    kind: str
    name: str
    refused: str | None = None
    """Words of the refusal; None if the model is trained."""
    changes: tuple[Change, ...] = ()
    """What is done to a copy of `base`, in order."""
    base: str = "sd"
    overrides: tuple[str, ...] = ()
    """Further overrides of the run's config."""
    model: str = "{folder}"
    """What `guidance.prior.model` is set to."""


def settings_file(folder: Path, part: str) -> Path:
    """The file with the settings of a part."""
    return folder / part / {"scheduler": "scheduler_config.json", "tokenizer": "tokenizer_config.json"}.get(part, "config.json")


def fields(part: str, *dropped: str, **values: Any) -> Change:
    """Settings of a part are dropped or changed, its class in model_index.json too."""

    def change(folder: Path) -> None:
        file = settings_file(folder, part)
        settings = {name: value for name, value in json.loads(file.read_text()).items() if name not in dropped}
        file.write_text(json.dumps(settings | values))
        if "_class_name" in values:
            listed(part, values["_class_name"])(folder)

    return change


def listed(part: str, name: str | None) -> Change:
    """The class of a part in model_index.json; None removes the part from it."""

    def change(folder: Path) -> None:
        index = folder / "model_index.json"
        settings = json.loads(index.read_text())
        settings.pop(part, None)
        index.write_text(json.dumps(settings | ({part: ["diffusers", name]} if name else {})))

    return change


def saved(part: str, cls: str, **settings: Any) -> Change:
    """A part is replaced by a new object of a class of diffusers, with random weights if it is a network."""

    def change(folder: Path) -> None:
        torch.manual_seed(0)
        shutil.rmtree(folder / part)
        getattr(diffusers, cls)(**settings).save_pretrained(folder / part)
        listed(part, cls)(folder)

    return change


scheduler = partial(saved, "scheduler")


def unet(**settings: Any) -> Change:
    """The U-Net is replaced by one of other settings."""
    small = {
        "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 8,
        "cross_attention_dim": 32, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return saved("unet", "UNet2DConditionModel", **small | settings)


def vae(**settings: Any) -> Change:
    """The autoencoder is replaced by one of other settings."""
    small = {
        "block_out_channels": (16,) * 4, "down_block_types": ("DownEncoderBlock2D",) * 4, "norm_num_groups": 8,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }  # fmt: skip
    return saved("vae", "AutoencoderKL", **small | settings)


TINY = saved(
    "vae", "AutoencoderTiny", encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
    num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4,
)  # fmt: skip


def written(file: str, content: str | bytes) -> Change:
    """A file has other content."""
    return lambda folder: (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(file: str, share: float) -> Change:
    """Only the first part of a file is there."""
    return lambda folder: (folder / file).write_bytes((content := (folder / file).read_bytes())[: int(len(content) * share)])


def removed(name: str) -> Change:
    """A file or a folder is missing."""
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def renamed(file: str, name: str) -> Change:
    """A file has another name."""
    return lambda folder: (folder / file).rename((folder / file).with_name(name))


def dangling(file: str) -> Change:
    """A file is a link to nothing, as in a cache whose blobs were cleaned up."""

    def change(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to("../../blobs/0123456789")

    return change


def weights(file: str, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], to: str | None = None) -> Change:
    """The weights in a file are changed, and saved in its place or under another name."""

    def apply(folder: Path) -> None:
        changed = {name: tensor.contiguous() for name, tensor in change(load_file(folder / file)).items()}
        save_file(changed, (folder / file).with_name(to or Path(file).name), {"format": "pt"})

    return apply


def prefixed(prefix: str, names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under names with a prefix, as wrappers save them."""
    return {prefix + name: tensor for name, tensor in names.items()}


def cast(dtype: torch.dtype, names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights in another precision."""
    return {name: tensor.to(dtype) for name, tensor in names.items()}


def with_lora(names: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a model whose LoRA was not merged."""
    name = next(name for name, tensor in names.items() if tensor.ndim == 2)
    base = name.removesuffix(".weight")
    rest = {other: tensor for other, tensor in names.items() if other != name}
    low = {f"{base}.lora_A.default.weight": torch.zeros(1, names[name].shape[1])}
    return rest | {f"{base}.base_layer.weight": names[name]} | low


def shards(file: str, drop: bool = False) -> Change:
    """Weights in two files and an index; the second file is missing if `drop`."""

    def change(folder: Path) -> None:
        path = folder / file
        tensors = load_file(path)
        names = [f"{path.stem}-0000{number}-of-00002.safetensors" for number in (1, 2)]
        weight_map = {key: names[index % 2] for index, key in enumerate(tensors)}
        for name in names[: 1 if drop else 2]:
            part = {key: tensor for key, tensor in tensors.items() if weight_map[key] == name}
            save_file(part, path.with_name(name), {"format": "pt"})
        index = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))
        path.unlink()

    return change


def other_pipeline(name: str, network: str, part: str = "transformer") -> tuple[Change, ...]:
    """The files of a pipeline of another architecture."""

    def change(folder: Path) -> None:
        shutil.rmtree(folder / "unet")
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps({"_class_name": network}))
        index = folder / "model_index.json"
        kept = {key: value for key, value in json.loads(index.read_text()).items() if key != "unet"}
        index.write_text(json.dumps(kept | {"_class_name": name, part: ["diffusers", network]}))

    return (change,)


def only(*names: str) -> Change:
    """The folder holds nothing but one of its files or folders, moved to its top."""

    def change(folder: Path) -> None:
        aside = folder.with_name(f"{folder.name}-aside")
        folder.rename(aside)
        folder.mkdir()
        for name in names:
            source, _, target = name.partition(" as ")
            if (aside / source).is_dir():
                shutil.copytree(aside / source, folder, dirs_exist_ok=True)
            else:
                shutil.copy(aside / source, folder / (target or Path(source).name))
        shutil.rmtree(aside)

    return change
