"""The bundled latent prior: an autoencoder, a U-Net over 16 x 16 latents, a CLIP text encoder, in Stable Diffusion's layout."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.data import Batch, draw_batch
from training.diffusion import prepare_unet, v_loss
from training.muon import MatrixOptimizer
from training.text import LENGTH, build_tokenizer, tokenize
from training.train import Recipe
from training.views import ViewStore

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel

WIDTHS = (72, 136)
KL_WEIGHT = 5e-4
EDGE_WEIGHT = 0.5
COLOR_WEIGHT = 0.2
CROP = 32


def build_vae() -> AutoencoderKL:
    """64 x 64 pixels to 16 x 16 latents of four channels; without attention, so that it can learn on crops."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=64,
        force_upcast=False,
        mid_block_add_attention=False,
    )
    return vae.to(memory_format=torch.channels_last)


def build_unet(widths: tuple[int, ...] = WIDTHS, text_width: int = 64) -> UNet2DConditionModel:
    """Attention on the 8 x 8 level only; the pooled text also enters with the timestep."""
    from diffusers import UNet2DConditionModel

    plain = len(widths) - 1
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * plain + ("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",) + ("UpBlock2D",) * plain,
        cross_attention_dim=text_width,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        # diffusers reads this as the number of heads
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )


def build_text_encoder(vocabulary: int, pad: int, start: int, end: int, width: int = 64) -> CLIPTextModel:
    """Two causal layers over words."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=LENGTH, pad_token_id=pad, bos_token_id=start, eos_token_id=end,
    )  # fmt: skip
    return CLIPTextModel(config)


def build_scheduler() -> DDPMScheduler:
    """The cosine schedule, v-prediction; latents are not bounded."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", variance_type="fixed_small",
        clip_sample=False, steps_offset=1,
    )  # fmt: skip


class VaeRecipe(Recipe):
    """Training of the autoencoder: L1 error of pixels and gradients, and two weak regularisers of the latents.

    One towards a normal posterior, one of the first three channels towards the picture's colours at a quarter of the size: it
    saves most of the training and leaves latents whose gradients mean something in pixels.
    Most batches are crops of a quarter of the area: as many pixels of detail cost a quarter.
    """

    image_size = 64

    def __init__(self, batch_size: int = 16, learning_rate: float = 2e-3, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.networks = nn.ModuleDict({"vae": build_vae()})

    def loss(self, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Reconstruction, colour and Kullback-Leibler terms, means over elements."""
        vae = self.networks["vae"]
        pictures = self.crop(batch.images, generator)
        images = pictures.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            moments = vae.encode(images).latent_dist
            noise = torch.randn(moments.mean.shape, generator=generator)
            decoded = vae.decode(moments.mean + moments.std * noise).sample.float()
        error = decoded - images
        edges = (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()) * EDGE_WEIGHT
        mean, logvar = moments.mean.float(), moments.logvar.float()
        divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        color = (mean[:, :3] - nn.functional.avg_pool2d(pictures, 4)).square().mean()
        return error.abs().mean() + edges + COLOR_WEIGHT * color + KL_WEIGHT * divergence

    def crop(self, images: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> Float[Tensor, "b 3 h w"]:
        """The same crop of all images; for an eighth of the batches a quarter of the images, uncropped."""
        if torch.rand((), generator=generator).item() < 0.125:
            return images[: max(1, len(images) // 4)]
        top, left = torch.randint(self.image_size - CROP + 1, (2,), generator=generator).tolist()
        return images[:, :, top : top + CROP, left : left + CROP]

    def exported(self, folder: Path) -> dict[str, nn.Module]:
        """The autoencoder of a StableDiffusionPipeline folder."""
        from diffusers import AutoencoderKL

        return {"vae": AutoencoderKL.from_pretrained(folder, subfolder="vae")}

    def export(self, networks: nn.ModuleDict, folder: Path) -> None:
        """Write the autoencoder alone."""
        networks["vae"].save_pretrained(folder)


class LatentRecipe(Recipe):
    """Training of the latent U-Net and its text encoder; the autoencoder is frozen."""

    image_size = 64

    def __init__(
        self, vae: AutoencoderKL, store: ViewStore, batch_size: int = 32, learning_rate: float = 1e-3, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.batch_size, self.learning_rate = batch_size, learning_rate
        self.vae = vae.eval().requires_grad_(False)
        self.vae.register_to_config(scaling_factor=self._scaling_factor(store))
        self.tokenizer = build_tokenizer(start=True)
        self.scheduler = build_scheduler()
        unet = prepare_unet(build_unet())
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        ids = [self.tokenizer.pad_token_id, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id]
        self.networks = nn.ModuleDict({"unet": unet, "text_encoder": build_text_encoder(len(self.tokenizer), *ids)})

    def optimizer(self) -> MatrixOptimizer:
        """Muon, as for the pixel prior, where it was measured."""
        return MatrixOptimizer(self.networks, self.learning_rate)

    def _scaling_factor(self, store: ViewStore) -> float:
        """One over the latents' standard deviation, from a fixed batch."""
        generator = torch.Generator().manual_seed(1)
        images = draw_batch(store, 128, self.image_size, generator).images
        return round(1 / self._latents(images, generator).std().item(), 4)

    def _latents(self, images: Float[Tensor, "B 3 H W"], generator: torch.Generator) -> Float[Tensor, "B 4 h w"]:
        """Unscaled samples of the posterior."""
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            moments = self.vae.encode(images.contiguous(memory_format=torch.channels_last)).latent_dist
        mean = moments.mean.float()
        return mean + moments.std.float() * torch.randn(mean.shape, generator=generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Denoising loss of scaled latents."""
        latents = self._latents(batch.images, generator) * self.vae.config.scaling_factor
        ids, _ = tokenize(self.tokenizer, batch.captions)
        embedding = self.networks["text_encoder"](input_ids=ids).last_hidden_state
        return v_loss(self.networks["unet"], latents, embedding, self.scheduler, generator)

    def exported(self, folder: Path) -> dict[str, nn.Module]:
        """U-Net and text encoder."""
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel

        return {
            "unet": UNet2DConditionModel.from_pretrained(folder, subfolder="unet"),
            "text_encoder": CLIPTextModel.from_pretrained(folder, subfolder="text_encoder"),
        }

    def export(self, networks: nn.ModuleDict, folder: Path) -> None:
        """Write a StableDiffusionPipeline folder in half precision."""
        from diffusers import StableDiffusionPipeline

        from training.folder import save_pipeline

        networks = copy.deepcopy(networks).half()
        pipeline = StableDiffusionPipeline(
            vae=copy.deepcopy(self.vae).half(),
            text_encoder=networks["text_encoder"],
            tokenizer=self.tokenizer,
            unet=networks["unet"],
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        )
        save_pipeline(pipeline, folder, self.image_size)
