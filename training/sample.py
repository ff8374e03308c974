"""Samples of a bundled prior by deterministic DDIM (arXiv 2010.02502) with classifier-free guidance."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from training.folder import FACTS
from training.text import tokenize


class Sampler:
    """A bundled prior, pixel or latent, for sampling."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from diffusers import DDIMScheduler, DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.unet = pipeline.unet.to(device, torch.float32).eval()
        self.text_encoder = pipeline.text_encoder.to(device, torch.float32).eval()
        self.tokenizer = pipeline.tokenizer
        self.vae = getattr(pipeline, "vae", None)
        if self.vae is not None:
            self.vae = self.vae.to(device, torch.float32).eval()
        # from the end of the schedule, which is pure noise
        self.scheduler = DDIMScheduler.from_config(
            pipeline.scheduler.config, timestep_spacing="trailing", set_alpha_to_one=True, steps_offset=0
        )
        self.image_size = json.loads((folder / FACTS).read_text())["image_size"]

    def embed(self, captions: list[str]) -> Float[Tensor, "B L D"]:
        """Text embeddings as the diffusers pipelines compute them."""
        ids, mask = tokenize(self.tokenizer, captions)
        if self.vae is None:
            return self.text_encoder(input_ids=ids, attention_mask=mask)[0]
        return self.text_encoder(input_ids=ids)[0]

    @torch.inference_mode()
    def draw(self, captions: list[str], scale: float = 3.0, steps: int = 25, seed: int = 0) -> Float[Tensor, "B h w 3"]:
        """One image in [0, 1] per caption; guidance `scale` 1 is the conditional model."""
        generator = torch.Generator().manual_seed(seed)
        embedding = torch.cat([self.embed([""] * len(captions)), self.embed(captions)])
        channels = self.unet.config.in_channels
        side = self.unet.config.sample_size
        x = torch.randn(len(captions), channels, side, side, generator=generator)
        self.scheduler.set_timesteps(steps)
        for timestep in self.scheduler.timesteps:
            with torch.autocast("cpu", torch.bfloat16):
                output = self.unet(torch.cat([x, x]), timestep, embedding, return_dict=False)[0]
            uncond, cond = output[:, :channels].float().chunk(2)
            x = self.scheduler.step(uncond + scale * (cond - uncond), timestep, x).prev_sample
        if self.vae is not None:
            x = self.vae.decode(x / self.vae.config.scaling_factor).sample
        return (x.permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)
