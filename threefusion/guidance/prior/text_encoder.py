"""The text encoder of a pretrained pipeline: T5 as DeepFloyd IF uses it, CLIP as Stable Diffusion does."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.models import ModelError, fingerprint, read_settings
from threefusion.guidance.prior.precision import reading_options, weight_files
from threefusion.guidance.prior.prior import TextEncoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

LONGEST = 77
"""Tokens per text: CLIP's limit, and what DeepFloyd IF was trained with although T5 could take more."""
LARGE = 2**31
"""Bytes of weights above which an encoder runs in bfloat16: T5-XXL would need 19 GB in float32, and overflows in float16."""


class PretrainedTextEncoder(TextEncoder):
    """Encodes texts with the `text_encoder` and `tokenizer` of a pipeline folder, on the CPU; the network is freed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kind = read_settings(folder / "text_encoder" / "config.json").get("model_type", "")
        if self.kind not in ("t5", "clip_text_model"):
            raise ModelError(f"{folder}: unsupported text encoder {self.kind!r}; supported: t5, clip_text_model")
        size = sum(file.stat().st_size for file in weight_files(folder / "text_encoder"))
        self.dtype = torch.bfloat16 if size > LARGE else torch.float32
        self.length = min(read_settings(folder / "tokenizer" / "tokenizer_config.json").get("model_max_length", LONGEST), LONGEST)
        self.key = f"{fingerprint(folder)}/{str(self.dtype).removeprefix('torch.')}/{self.length}"

    def encode(self, texts: list[str]) -> Conditioning:
        """The last hidden states. T5 attends to real tokens only; the U-Net then sees the padding too, as in its training."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder / "tokenizer", local_files_only=True)
        if self.kind == "t5":
            # DeepFloyd IF was trained on lower-case captions.
            texts = [text.lower().strip() for text in texts]
        for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
            if len(ids) > self.length:
                logger.warning("The text has %d tokens, of which the prior reads %d: %s", len(ids), self.length, text)
        tokens = tokenizer(texts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt")
        mask = tokens.attention_mask if self.kind == "t5" else None
        with torch.inference_mode():
            states = self.network()(input_ids=tokens.input_ids, attention_mask=mask).last_hidden_state
        return Conditioning(states.float().clone())

    def network(self) -> PreTrainedModel:
        """The encoder, loaded from disk."""
        from transformers import CLIPTextModel, T5EncoderModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        cls = T5EncoderModel if self.kind == "t5" else CLIPTextModel
        folder = self.folder / "text_encoder"
        return cls.from_pretrained(folder, dtype=self.dtype, **reading_options(folder)).eval()
