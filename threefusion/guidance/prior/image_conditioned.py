"""Diffusion over latents given another view of the same object and where it was taken from, shaped as Zero-1-to-3."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.errors import first_line
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.files import ModelError, read_settings
from threefusion.guidance.prior.image import channels_first
from threefusion.guidance.prior.known_models import ENCODERS, NETWORKS
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.guidance.prior.reading import read_network, read_weights, silence
from threefusion.guidance.prior.reference import on_white, read_picture, relative_pose
from threefusion.guidance.prior.settings import ImageConditionedConfig
from threefusion.types import RenderOutput, ViewBatch

POSE = 4
"""Numbers of a relative pose."""


class ReferenceEncoder(TextEncoder):
    """Stands in for a text encoder: the CLIP embedding of the reference picture for every text, zeros for the empty one."""

    def __init__(self, folder: Path, picture: Float[Tensor, "1 H W 3"]) -> None:
        self.folder = folder
        self.picture = picture

    def encode(self, texts: list[str]) -> Conditioning:
        """One token for each text."""
        told = torch.tensor([bool(text) for text in texts])
        return Conditioning(torch.where(told[:, None, None], self.embedding(), 0.0))

    @torch.inference_mode()
    def embedding(self) -> Float[Tensor, "1 1 D"]:
        """The picture's embedding by the model's own preprocessor and network.

        Raises:
            ModelError: one of them cannot be read.
        """
        from transformers import CLIPVisionModelWithProjection

        network = read_network(CLIPVisionModelWithProjection, self.folder / "image_encoder", torch.float32)
        return network(self.pixels()).image_embeds[:, None].clone()

    def pixels(self) -> Float[Tensor, "1 3 h w"]:
        """The picture resized and normalised."""
        from PIL import Image
        from transformers import CLIPImageProcessor

        silence()
        try:
            processor = CLIPImageProcessor.from_pretrained(self.folder / "feature_extractor", local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{self.folder / 'feature_extractor'}: cannot be read ({first_line(error)})") from error
        picture = Image.fromarray((self.picture[0].clamp(0, 1) * 255).round().numpy().astype(np.uint8))
        return processor(images=picture, return_tensors="pt").pixel_values


class ImageConditionedPrior(LatentPrior):
    """A U-Net over latents that is given a reference picture's latents, and one token of what it shows and the relative pose.

    It reads no text: the empty prompt and negative prompts are "no reference", zeros for both.
    """

    parts: ClassVar[tuple[str, ...]] = NETWORKS["image-conditioned"]
    takes_sizes: ClassVar[bool] = False
    encoder_parts: ClassVar[tuple[str, ...]] = ENCODERS["image-conditioned"]
    image_channels: ClassVar[int] = 4
    cfg: ImageConditionedConfig

    def read_settings(self, part: str) -> ModelSettings:
        """The settings of a part."""
        if part != "clip_camera_projection":
            return super().read_settings(part)
        file = self.folder / part / "config.json"
        return ModelSettings(file, {"embedding_dim": 768, "additional_embeddings": POSE} | read_settings(file))

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check also that the projection's tokens are as wide as the U-Net's cross-attention.

        Raises:
            ModelError: as in the base class, or they are not.
        """
        if part != "clip_camera_projection":
            super().check_settings(part, settings)
            return
        known = ("embedding_dim", "additional_embeddings")
        if unknown := [name for name in settings if name[:1] != "_" and name not in known]:
            raise settings.error(unknown[0], "not a field of CLIPCameraProjection")
        settings.refuse("_class_name", ("CLIPCameraProjection", None), "expected CLIPCameraProjection")
        settings.refuse("additional_embeddings", (POSE,), f"expected {POSE}, the numbers of a relative pose")
        width = self.settings("unet")["cross_attention_dim"]
        settings.refuse("embedding_dim", (width,), f"expected {width}, as cross_attention_dim of the U-Net")

    def stored_network(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """A network as its file has it."""
        if part != "clip_camera_projection":
            return super().stored_network(part, dtype)
        width = self.settings(part)["embedding_dim"]
        with torch.device("meta"):
            projection = nn.ModuleDict({"proj": nn.Linear(width + POSE, width)})
        return read_weights(projection, self.folder / part)

    @cached_property
    def picture(self) -> Float[Tensor, "1 H W 3"]:
        """The reference picture over white, at the prior's size."""
        return on_white(read_picture(Path(self.cfg.image)), self.image_size)

    @cached_property
    def reference(self) -> Float[Tensor, "1 C h w"]:
        """Its latents: the posterior's mode, not scaled, as in the model's training."""
        image = channels_first(self.picture).to(self.storage, self.vae_dtype)
        with torch.no_grad(), torch.autocast(self.storage.type, enabled=False):
            return self.encoder()(image)[:, : self.shape[0]].float()

    def text_encoder(self) -> TextEncoder:
        """Encodes every text as the reference picture.

        Raises:
            ModelError: the image encoder does not belong to the projection.
        """
        file = self.folder / "image_encoder" / "config.json"
        encoder = ModelSettings(file, {"projection_dim": 512} | read_settings(file))
        width = self.settings("clip_camera_projection")["embedding_dim"]
        encoder.refuse("projection_dim", (width,), f"expected {width}, as embedding_dim of clip_camera_projection")
        return ReferenceEncoder(self.folder, self.picture)

    @torch.no_grad()
    def condition(self, prompt: PromptConditioning, views: ViewBatch, render: RenderOutput | None) -> PromptConditioning:
        """The reference and each view's pose relative to it; zeros for the empty and for negative prompts."""
        cfg, position = self.cfg, views.camera.position
        pose = relative_pose(position, cfg.elevation_deg, cfg.azimuth_deg, cfg.distance, cfg.polar)
        latents = self.reference.to(position.device).expand(len(views), -1, -1, -1)
        projection = self.network("clip_camera_projection", torch.float32)["proj"].to(position.device)

        def shown(condition: Conditioning) -> Conditioning:
            tokens = projection(torch.cat([condition.tokens.float(), pose[:, None]], -1))
            return replace(condition, tokens=tokens, image=latents)

        def hidden(condition: Conditioning) -> Conditioning:
            return replace(condition, tokens=torch.zeros_like(condition.tokens), image=torch.zeros_like(latents))

        given = prompt.map(shown)
        return replace(given, uncond=hidden(prompt.uncond), negatives=tuple(map(hidden, prompt.negatives)))

    def network_inputs(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> tuple[Float[Tensor, "B D h w"], Tensor, *tuple[Tensor, ...]]:
        """Noised latents beside those of the reference, time, token."""
        assert condition.image is not None
        return super().network_inputs(torch.cat([z, condition.image], 1), t, condition)
