"""Single files as folders in the layout of diffusers: converted once, kept in the cache, read like any folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.errors import first_line
from threefusion.guidance.prior.files import ModelError, defect, safetensors_header, settings_defect, with_text_parts
from threefusion.guidance.prior.models import MODELS, candidates, settings_command
from threefusion.guidance.prior.single_file import AUTOENCODER, UNET, Layout, elements, layout_of, predicts_velocity
from threefusion.machine.checksums import cache_folder
from threefusion.machine.files import cannot_write, locked, read_json, remove_temporaries
from threefusion.messages import Noted, send

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PATIENCE = 3600.0
"""Seconds to wait for another process that converts the same file."""


def converted(file: Path, config: str | None, parts: Sequence[str]) -> Path:
    """The folder of a pipeline in one file. `config` names the model whose settings it has; by default the layout does.

    Raises:
        ModelError: the file or the settings cannot be read, or do not belong together.
        UserError: the cache cannot be written.
    """
    layout = layout_of(file)
    settings = _settings_folder(file, layout, config, parts)
    parts = with_text_parts(settings, parts)
    target = cache_folder() / "converted" / _key(file, settings, parts)
    if defect(target, parts) is None:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(target.parent, error) from error
    with locked(target.with_suffix(".lock"), f"{file}: another process is converting it", PATIENCE):
        if defect(target, parts) is not None:
            send(Noted(f"{file}: {layout.name}, converted once to {target} with the settings and tokenizer of {settings}"))
            _convert(file, layout, settings, target, parts)
    return target


def _settings_folder(file: Path, layout: Layout, config: str | None, parts: Sequence[str]) -> Path:
    """The local folder with the settings and the tokenizer of a file; nothing is downloaded."""
    name = config or layout.config
    if name is None:
        choices = " or ".join(f"guidance.prior.single_file_config={choice}" for choice in layout.choices)
        raise ModelError(
            f"{file}: {layout.name}, of which one model predicts noise and another velocity with the same keys: add {choices}"
        )
    folders = candidates(name, parts)
    whole = [folder for folder in folders if settings_defect(folder, parts) is None]
    if not whole:
        lacks = f" ({settings_defect(folders[0], parts)})" if folders else ""
        how = settings_command(name) if name in MODELS else "expected a folder of diffusers with model_index.json"
        raise ModelError(f"{file}: needs the settings and the tokenizer of {name}, which are not on this machine{lacks}: {how}")
    scheduler = read_json(whole[0] / "scheduler" / "scheduler_config.json") or {}
    if predicts_velocity(file) and scheduler.get("prediction_type") != "v_prediction":
        problem = f"predicts velocity by its key v_pred, but the scheduler of {name} does not: name another model"
        raise ModelError(f"{file}: {problem} with guidance.prior.single_file_config")
    return whole[0]


def _key(file: Path, settings: Path, parts: Sequence[str]) -> str:
    """Identifies the file, the settings and the libraries that convert it."""
    stat = file.stat()
    digest = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
    for path in sorted(
        path for part in parts for path in (settings / part).glob("*") if path.suffix in (".json", ".txt", ".model")
    ):
        digest.update(f" {path.parent.name}/{path.name} ".encode() + path.read_bytes())
    digest.update("/".join(version(name) for name in ("diffusers", "transformers")).encode())
    return f"{file.stem}-{digest.hexdigest()[:16]}"


def _convert(file: Path, layout: Layout, settings: Path, target: Path, parts: Sequence[str]) -> None:
    """Write the folder, whole or not at all."""
    remove_temporaries(target.parent)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        _check_sizes(file, settings)
        pipeline = _read(file, layout, settings)
        _check_complete(file, pipeline)
        pipeline.save_pretrained(temporary)
        for part in parts:
            if part.startswith(("tokenizer", "scheduler")):
                # the very files, so that a prompt is embedded as with the model that they belong to
                shutil.rmtree(temporary / part)
                shutil.copytree(settings / part, temporary / part)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(temporary, target)
    except OSError as error:
        raise cannot_write(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read(file: Path, layout: Layout, settings: Path) -> DiffusionPipeline:
    """The pipeline that diffusers reads from a file."""
    import diffusers

    from threefusion.guidance.prior.reading import DTYPES, dtype_keyword, silence

    silence()
    cls = getattr(diffusers, layout.pipeline)
    unused = ("safety_checker", "feature_extractor", "image_encoder")
    options = {name: None for name in unused if name in cls._optional_components}
    types = {entry["dtype"] for key, entry in safetensors_header(file).items() if key != "__metadata__"} & {"F32", *DTYPES}
    # without it, half precision would be written in full
    options[dtype_keyword()] = DTYPES.get(types.pop()) if len(types) == 1 else None
    try:
        return cls.from_single_file(str(file), config=str(settings), local_files_only=True, **options)
    except Exception as error:  # of several libraries
        raise ModelError(f"{file}: does not fit the settings in {settings} ({first_line(error)})") from error


def _check_sizes(file: Path, settings: Path) -> None:
    """Check that U-Net and autoencoder have as many values in the file as the settings describe.

    Raises:
        ModelError: they have not: diffusers drops weights that it does not know without a word.
    """
    import diffusers
    import torch

    header = safetensors_header(file)
    classes = (("unet", UNET, diffusers.UNet2DConditionModel), ("vae", AUTOENCODER, diffusers.AutoencoderKL))
    for part, prefix, cls in classes:
        with torch.device("meta"):
            network = cls.from_config(cls.load_config(settings / part))
        held, wanted = elements(header, prefix), sum(weight.numel() for weight in network.parameters())
        if held != wanted:
            raise ModelError(f"{file}: has {held} values under {prefix}, but the {part} of {settings} has {wanted}")


def _check_complete(file: Path, pipeline: DiffusionPipeline) -> None:
    """Check that the file has every weight of the networks.

    Raises:
        ModelError: diffusers left one without memory, without a word.
    """
    for part, network in pipeline.components.items():
        for name, weight in network.named_parameters() if hasattr(network, "named_parameters") else ():
            if weight.is_meta:
                raise ModelError(f"{file}: the weight {part}.{name} is missing")
