"""The text encoder of a pretrained pipeline: T5 as DeepFloyd IF uses it, CLIP as Stable Diffusion does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.files import ModelError, fingerprint, network_files, read_settings
from threefusion.guidance.prior.lora import Lora
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.guidance.prior.reading import read_network, read_tokenizer
from threefusion.guidance.prior.textual_inversion import TextualInversion, expanded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

LONGEST = 77
"""Tokens per text: CLIP's limit, and what DeepFloyd IF was trained with although T5 could take more."""
LARGE = 2**31
"""Bytes of weights above which an encoder runs in bfloat16: T5-XXL would need 19 GB in float32, and overflows in float16."""
TOKENIZERS = {"t5": "T5Tokenizer", "clip_text_model": "CLIPTokenizer"}
"""By the `model_type` of a text encoder: the tokenizer of a folder that names no class of its own."""


class PretrainedTextEncoder(TextEncoder):
    """Encodes texts with the `text_encoder` and `tokenizer` of a pipeline folder, on the CPU; the network is freed."""

    def __init__(self, folder: Path, loras: Sequence[Lora] = (), inversions: Sequence[TextualInversion] = ()) -> None:
        self.folder = folder
        self.loras = [lora for lora in loras if lora.changes("text_encoder")]
        self.inversions = list(inversions)
        self.settings = read_settings(folder / "text_encoder" / "config.json")
        self.kind = self.settings.get("model_type", "")
        if self.kind not in TOKENIZERS:
            raise ModelError(f"{folder}: unsupported text encoder {self.kind!r}; supported: {', '.join(TOKENIZERS)}")
        if self.inversions and self.kind == "t5":
            raise ModelError(f"{self.inversions[0].file}: textual inversions are for CLIP, and the model's text encoder is T5")
        size = sum(file.stat().st_size for file in network_files(folder / "text_encoder")[1])
        self.dtype = torch.bfloat16 if size > LARGE else torch.float32
        path = folder / "tokenizer" / "tokenizer_config.json"
        self.tokenizer_settings = read_settings(path) if path.exists() else {}
        limits = (self.tokenizer_settings.get("model_max_length"), self.settings.get("max_position_embeddings"))
        self.length = int(min([LONGEST, *(limit for limit in limits if isinstance(limit, int | float) and limit >= 1)]))
        libraries = "/".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers"))
        self.key = f"{fingerprint(folder)}/{str(self.dtype).removeprefix('torch.')}/{self.length}/{libraries}"
        self.key += "".join(f"/{own.key}" for own in (*self.loras, *self.inversions))

    def encode(self, texts: list[str]) -> Conditioning:
        """The last hidden states. T5 attends to real tokens only; the U-Net then sees the padding too, as in its training.

        Raises:
            ModelError: tokenizer or network cannot be read, or do not belong together.
        """
        tokenizer = self.tokenizer()
        if self.kind == "t5":
            # DeepFloyd IF was trained on lower-case captions.
            texts = [text.lower().strip() for text in texts]
        texts = [expanded(text, tokenizer, self.inversions) for text in texts]
        for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
            if len(ids) > self.length:
                logger.warning("The text has %d tokens, of which the prior reads %d: %s", len(ids), self.length, text)
        tokens = tokenizer(texts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt")
        mask, network = tokens.attention_mask if self.kind == "t5" else None, self.network()
        for inversion in self.inversions:
            inversion.add_to_encoder(network, tokenizer)
        if (largest := tokens.input_ids.max().item()) >= network.config.vocab_size:
            raise ModelError(
                f"{self.folder}: the tokenizer does not belong to the text encoder: it returns token {largest}, "
                f"which vocab_size {network.config.vocab_size} of text_encoder/config.json does not allow"
            )
        with torch.inference_mode():
            states = network(input_ids=tokens.input_ids, attention_mask=mask).last_hidden_state
        return Conditioning(states.float().clone())

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, of the class that its settings name, or else the one that the encoder was trained with."""
        import transformers

        named = self.tokenizer_settings.get("tokenizer_class")
        cls = transformers.AutoTokenizer if named else getattr(transformers, TOKENIZERS[self.kind])
        tokenizer = read_tokenizer(cls, self.folder / "tokenizer", model_max_length=self.length)
        for inversion in self.inversions:
            inversion.add_to_tokenizer(tokenizer)
        return tokenizer

    def network(self) -> PreTrainedModel:
        """The encoder, read from disk."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

        projected = "CLIPTextModelWithProjection" in (self.settings.get("architectures") or ())
        clip = CLIPTextModelWithProjection if projected else CLIPTextModel
        network = read_network(T5EncoderModel if self.kind == "t5" else clip, self.folder / "text_encoder", self.dtype)
        for lora in self.loras:
            lora.merge(network, "text_encoder")
        return network
