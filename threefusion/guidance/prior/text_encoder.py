"""The text encoders of a pretrained pipeline: one T5 as DeepFloyd IF uses it, or one CLIP as Stable Diffusion does."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.files import ModelError, fingerprint, network_files, read_settings, text_parts
from threefusion.guidance.prior.lora import Lora
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.guidance.prior.reading import read_network, read_tokenizer
from threefusion.guidance.prior.textual_inversion import TextualInversion, expanded
from threefusion.messages import Noted, send

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.utils import ModelOutput

LONGEST = 77
"""Tokens per text: CLIP's limit, and what DeepFloyd IF was trained with although T5 could take more."""
LARGE = 2**31
"""Bytes of weights above which an encoder runs in bfloat16: T5-XXL would need 19 GB in float32, and overflows in float16."""
TOKENIZERS = {"t5": "T5Tokenizer", "clip_text_model": "CLIPTokenizer"}
"""By the `model_type` of a text encoder: the tokenizer of a folder that names no class of its own."""


class TextNetwork:
    """One text encoder of a pipeline with its tokenizer, on the CPU; the network is freed after each call."""

    loras: Sequence[Lora] = ()
    inversions: Sequence[TextualInversion] = ()

    def __init__(self, folder: Path, number: int = 1, longest: int = LONGEST) -> None:
        suffix = f"_{number}" if number > 1 else ""
        self.folder, self.encoder, self.vocabulary = folder, folder / f"text_encoder{suffix}", folder / f"tokenizer{suffix}"
        self.settings = read_settings(self.encoder / "config.json")
        self.kind = self.settings.get("model_type", "")
        if self.kind not in TOKENIZERS:
            raise ModelError(f"{self.encoder}: unsupported text encoder {self.kind!r}; supported: {', '.join(TOKENIZERS)}")
        size = sum(file.stat().st_size for file in network_files(self.encoder)[1])
        self.dtype = torch.bfloat16 if size > LARGE else torch.float32
        path = self.vocabulary / "tokenizer_config.json"
        self.tokenizer_settings = read_settings(path) if path.exists() else {}
        limits = (self.tokenizer_settings.get("model_max_length"), self.settings.get("max_position_embeddings"))
        self.length = int(min([longest, *(limit for limit in limits if isinstance(limit, int | float) and limit >= 1)]))

    @property
    def projected(self) -> bool:
        """Whether the text as a whole is projected too, as by both of Stable Diffusion 3's CLIP encoders."""
        return "CLIPTextModelWithProjection" in (self.settings.get("architectures") or ())

    @property
    def width(self) -> int:
        """Numbers per token."""
        return self.settings.get("d_model" if self.kind == "t5" else "hidden_size", 512)  # transformers' default for both

    @property
    def projection(self) -> int:
        """Numbers of the projected text."""
        return self.settings.get("projection_dim", 512)  # transformers' default

    def run(self, texts: list[str], masked: bool = False, layers: bool = False, warn: bool = True) -> ModelOutput:
        """What the network returns: the states of its last layer, or of all `layers`, and where it is CLIP the text as a whole.

        `masked` hides the padding from the network, `warn` logs the texts that are too long.

        Raises:
            ModelError: tokenizer or network cannot be read, or do not belong together.
        """
        tokenizer = self.tokenizer()
        texts = [expanded(text, tokenizer, self.inversions) for text in texts]
        for text, ids in zip(texts, tokenizer(texts).input_ids, strict=True):
            if warn and len(ids) > self.length:
                send(Noted(f"The text has {len(ids)} tokens, of which the prior reads {self.length}: {text}"))
        tokens = tokenizer(texts, padding="max_length", max_length=self.length, truncation=True, return_tensors="pt")
        mask, network = tokens.attention_mask if masked else None, self.network()
        for inversion in self.inversions:
            inversion.add_to_encoder(network, tokenizer)
        if (largest := tokens.input_ids.max().item()) >= network.config.vocab_size:
            raise ModelError(
                f"{self.folder}: the tokenizer does not belong to the text encoder: it returns token {largest}, "
                f"which vocab_size {network.config.vocab_size} of {self.encoder.name}/config.json does not allow"
            )
        with torch.inference_mode():
            return network(input_ids=tokens.input_ids, attention_mask=mask, output_hidden_states=layers)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, of the class that its settings name, or else the one that the encoder was trained with."""
        import transformers

        named = self.tokenizer_settings.get("tokenizer_class")
        cls = transformers.AutoTokenizer if named else getattr(transformers, TOKENIZERS[self.kind])
        tokenizer = read_tokenizer(cls, self.vocabulary, model_max_length=self.length)
        for inversion in self.inversions:
            inversion.add_to_tokenizer(tokenizer)
        return tokenizer

    def network(self) -> PreTrainedModel:
        """The encoder, read from disk."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

        clip = CLIPTextModelWithProjection if self.projected else CLIPTextModel
        network = read_network(T5EncoderModel if self.kind == "t5" else clip, self.encoder, self.dtype)
        for lora in self.loras:
            lora.merge(network, self.encoder.name)
        return network


class PretrainedTextEncoder(TextEncoder):
    """Encodes texts with the `text_encoder` and `tokenizer` of a pipeline folder, changed by the user's files.

    `lengths` are the tokens that each of the pipeline's encoders reads.
    """

    def __init__(
        self,
        folder: Path,
        loras: Sequence[Lora] = (),
        inversions: Sequence[TextualInversion] = (),
        lengths: Sequence[int] = (LONGEST,),
    ) -> None:
        self.networks = [TextNetwork(folder, number, length) for number, length in enumerate(lengths, 1)]
        kinds = [network.kind for network in self.networks]
        for inversion in inversions:
            if "t5" in kinds:
                raise ModelError(f"{inversion.file}: textual inversions are for CLIP, and a text encoder of the model is T5")
            if len(inversion.encoders) != len(kinds):
                counts = f"{len(inversion.encoders)} text encoders, but the model has {len(kinds)}"
                raise ModelError(f"{inversion.file}: has vectors for {counts}")
        for number, network in enumerate(self.networks, 1):
            network.loras = [lora for lora in loras if lora.changes(network.encoder.name)]
            network.inversions = [TextualInversion(inversion.file, number) for inversion in inversions]
        libraries = "/".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers"))
        used = "/".join(f"{str(network.dtype).removeprefix('torch.')}/{network.length}" for network in self.networks)
        self.key = f"{type(self).__name__}/{fingerprint(folder, text_parts(folder))}/{used}/{libraries}"
        changed = [lora for lora in loras if any(lora in network.loras for network in self.networks)]
        self.key += "".join(f"/{own.key}" for own in (*changed, *inversions))

    @property
    def width(self) -> int:
        """Numbers per token, of all networks side by side."""
        return sum(network.width for network in self.networks)

    @property
    def pooled_width(self) -> int:
        """Numbers of the text as a whole; 0 without one."""
        return 0

    def encode(self, texts: list[str]) -> Conditioning:
        """The last hidden states. T5 attends to real tokens only; the U-Net then sees the padding too, as in its training.

        Raises:
            ModelError: tokenizer or network cannot be read, or do not belong together.
        """
        (network,) = self.networks
        is_t5 = network.kind == "t5"
        if is_t5:
            # DeepFloyd IF was trained on lower-case captions.
            texts = [text.lower().strip() for text in texts]
        return Conditioning(network.run(texts, masked=is_t5).last_hidden_state.float().clone())
