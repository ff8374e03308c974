"""What Stable Diffusion XL adds: two text encoders, and a U-Net that takes the image's size and a text as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.files import FURTHER_TEXT_PARTS, is_listed, read_settings
from threefusion.guidance.prior.lora import Lora
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.text_encoder import LONGEST, PretrainedTextEncoder
from threefusion.guidance.prior.textual_inversion import TextualInversion

SIZES = 6
"""Numbers about the image: original height and width, top and left of the crop, target height and width."""


class SizedUNet(nn.Module):
    """A U-Net with its further conditions as ordinary arguments, as compiled and captured networks need them."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        z: Float[Tensor, "B C h w"],
        timesteps: Int[Tensor, "B"],
        tokens: Float[Tensor, "B L D"],
        pooled: Float[Tensor, "B P"],
        sizes: Float[Tensor, "B 6"],
        **options: Any,
    ) -> Any:
        """The U-Net's output."""
        return self.unet(z, timesteps, tokens, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}, **options)


def image_sizes(size: int, batch: int, device: torch.device) -> Float[Tensor, "B 6"]:
    """The numbers about square images that were not cropped.

    >>> image_sizes(1024, 1, torch.device("cpu")).tolist()
    [[1024.0, 1024.0, 0.0, 0.0, 1024.0, 1024.0]]
    """
    return torch.tensor([size, size, 0, 0, size, size], dtype=torch.float32, device=device).expand(batch, SIZES)


def is_sized(unet: ModelSettings) -> bool:
    """Whether a U-Net takes the image's size and pooled text."""
    return unet["addition_embed_type"] == "text_time"


def check_sizes(unet: ModelSettings, folder: Path) -> None:
    """Check that a U-Net takes the sizes and the pooled text that the model's text encoders give.

    Raises:
        ModelError: the pipeline has one text encoder, or the U-Net takes something else.
    """
    index = folder / "model_index.json"
    listed = read_settings(index) if index.is_file() else {}
    if not all(is_listed(listed, part) for part in FURTHER_TEXT_PARTS[:2]):
        raise unet.error("addition_embed_type", f"but {index} lists no {' and '.join(FURTHER_TEXT_PARTS[:2])}")
    pooled = read_settings(folder / "text_encoder_2" / "config.json").get("projection_dim", 512)  # transformers' default
    wanted = SIZES * unet.count("addition_time_embed_dim") + pooled
    problem = f"expected {wanted}, for {SIZES} sizes and a text of {pooled} numbers"
    if unet["projection_class_embeddings_input_dim"] == wanted - unet["addition_time_embed_dim"]:
        problem += "; this is a refiner, which takes an aesthetic score instead of the target size"
    unet.refuse("projection_class_embeddings_input_dim", (wanted,), problem)


class XLTextEncoder(PretrainedTextEncoder):
    """Stable Diffusion XL's: the penultimate layers of two CLIP encoders side by side, and the second one's projected text."""

    def __init__(self, folder: Path, loras: Sequence[Lora] = (), inversions: Sequence[TextualInversion] = ()) -> None:
        super().__init__(folder, loras, inversions, (LONGEST, LONGEST))
        index = folder / "model_index.json"
        # diffusers' default is true
        self.zeros = bool((read_settings(index) if index.is_file() else {}).get("force_zeros_for_empty_prompt", True))
        self.key += f"/{self.zeros}"

    def encode(self, texts: list[str]) -> Conditioning:
        """Tokens and pooled text; all zeros for the empty text, unless the pipeline's settings say otherwise.

        Raises:
            ModelError: a tokenizer or a network cannot be read, or they do not belong together.
        """
        first, second = (network.run(texts, layers=True, warn=network is self.networks[-1]) for network in self.networks)
        tokens = torch.cat([output.hidden_states[-2] for output in (first, second)], dim=-1)
        kept = torch.tensor([bool(text) or not self.zeros for text in texts])
        return Conditioning((tokens * kept[:, None, None]).float(), (second.text_embeds * kept[:, None]).float())
