"""How diffusers and transformers themselves read a model folder, compared with a prior."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from torch import Tensor

from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.pretrained import PretrainedPrior
from threefusion.guidance.prior.schedule import RectifiedFlow

PROMPT = "a red ball"
TIMES = (0.1, 0.5, 0.9)


def differences(prior: PretrainedPrior, folder: Path) -> list[str]:
    """What the prior computes otherwise than the libraries: schedule, text, prediction, latents."""
    found = []
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity(logging.CRITICAL)
        library.utils.logging.disable_progress_bar()
    with torch.no_grad():
        for what, own, theirs in comparisons(prior, folder):
            if own.shape != theirs.shape or not torch.allclose(own, theirs, rtol=2e-3, atol=2e-4):
                found.append(what)
    return found


def comparisons(prior: PretrainedPrior, folder: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """What is compared: its name, by the prior, by the libraries."""
    generator = torch.Generator().manual_seed(0)
    condition = prior.text_encoder().encode([PROMPT])
    tokens = encode_text(folder)
    yield "text", condition.tokens, tokens
    unet, scheduler = read(folder, "unet", "UNet2DConditionModel"), read(folder, "scheduler")
    if isinstance(unet.config.sample_size, int) and prior.cfg.image_size is None:
        yield "size", torch.tensor(prior.shape[1]), torch.tensor(unet.config.sample_size)
    z = torch.randn(1, *prior.shape, generator=generator)
    for t, timestep, level, clean in states(prior, scheduler, unet, z, tokens):
        alpha, sigma = (value.flatten() for value in prior.schedule.coefficients(t))
        yield "noise level", sigma / (alpha + sigma), level
        yield "timestep", prior.schedule.timesteps(t).float().round(), timestep.float().round()
        yield "clean image", prior.predict(z, t, condition).clean, clean
    if isinstance(prior, LatentPrior):
        yield from latents(prior, read(folder, "vae", "AutoencoderKL"), generator)


def states(
    prior: PretrainedPrior, scheduler: Any, unet: Any, z: Tensor, tokens: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Some times: t of the prior, the timestep, the noise level sigma / (alpha + sigma) and the clean image by diffusers."""

    def output(timestep: Tensor) -> Tensor:
        return unet(z, timestep, tokens).sample[:, : z.shape[1]]

    if "shift" in scheduler.config or scheduler.config.get("use_flow_sigmas"):
        assert isinstance(prior.schedule, RectifiedFlow)
        shift = scheduler.config.get("shift", scheduler.config.get("flow_shift"))
        scheduler.set_timesteps(20)
        for index in (2, 9, 16):
            level = scheduler.sigmas[index].float()
            timestep = level * scheduler.config.num_train_timesteps
            # UniPC rounds its timesteps down
            assert abs(timestep - scheduler.timesteps[index]) < 1
            t = level / (shift - (shift - 1) * level)
            if "shift" in scheduler.config:
                clean = z - level * output(timestep)
            else:
                scheduler._step_index = index
                clean = scheduler.convert_model_output(output(timestep), sample=z)
            yield t[None], timestep[None], level[None], clean
        return
    length = len(scheduler.alphas_cumprod)
    settings = {"clip_sample": False, "thresholding": False, "prediction_type": scheduler.config.prediction_type}
    reference = diffusers.DDPMScheduler(num_train_timesteps=length, **settings)
    reference.alphas_cumprod = scheduler.alphas_cumprod
    for t in TIMES:
        timestep = torch.tensor(round(t * length))
        alpha_bar = scheduler.alphas_cumprod[timestep].float()
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        clean = reference.step(output(timestep), int(timestep), z).pred_original_sample
        yield timestep[None] / length, timestep[None], (sigma / (alpha + sigma))[None], clean


def latents(prior: LatentPrior, vae: Any, generator: torch.Generator) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Images encoded and decoded."""
    rgb = torch.rand(1, prior.image_size, prior.image_size, 3, generator=generator)
    encoded = vae.encode(rgb.permute(0, 3, 1, 2) * 2 - 1)
    plain = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    config = vae.config
    mean, std = (config.get(name) for name in ("latents_mean", "latents_std"))
    shift = torch.tensor(mean or [config.shift_factor or 0.0]).view(1, -1, 1, 1)
    scaled = (plain - shift) * config.scaling_factor / torch.tensor(std or [1.0]).view(1, -1, 1, 1)
    yield "latents", prior.encode(rgb), scaled
    picture = (vae.decode(plain).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    yield "picture", prior.decode(scaled), picture


def read(folder: Path, part: str, default: str | None = None) -> Any:
    """A part as diffusers reads it, of the class that its own file or the pipeline's names."""
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    cls = getattr(diffusers, json.loads(file.read_text()).get("_class_name") or default)
    if part == "scheduler":
        return cls.from_pretrained(folder / part)
    return with_variant(cls, folder / part).float().eval()


def with_variant(cls: Any, folder: Path) -> Any:
    """A network from the first variant that can be read, in the order of the priors."""
    problems = []
    for variant in ("fp16", None, "bf16"):
        if not any(f".{variant or 'safetensors'}" in file.name for file in folder.iterdir()):
            continue  # diffusers would print an error
        try:
            return cls.from_pretrained(folder, variant=variant, local_files_only=True)
        except (OSError, ValueError, SafetensorError) as error:
            problems.append(error)
    raise problems[0]


def encode_text(folder: Path) -> Tensor:
    """The prompt's embedding as the pipelines of diffusers make it."""
    is_t5 = json.loads((folder / "text_encoder" / "config.json").read_text())["model_type"] == "t5"
    names = ("T5Tokenizer", "T5EncoderModel") if is_t5 else ("CLIPTokenizer", "CLIPTextModel")
    tokenizer, encoder = (getattr(transformers, name) for name in names)
    words = tokenizer.from_pretrained(folder / "tokenizer")(
        PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    mask = words.attention_mask if is_t5 else None
    return with_variant(encoder, folder / "text_encoder").float().eval()(words.input_ids, attention_mask=mask).last_hidden_state
