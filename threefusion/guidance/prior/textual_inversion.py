"""Textual inversions of the user's: tokens with embeddings of their own, added to a CLIP tokenizer and its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.inversion_keys import token_of
from threefusion.machine.checksums import checksums

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class TextualInversion:
    """A token and its vectors for one text encoder, from a safetensors file in the layout of diffusers or of AUTOMATIC1111.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """

    def __init__(self, file: Path, encoder: int = 1) -> None:
        self.file = file
        self.token, keys = token_of(file)
        key = keys[encoder]
        vectors: Float[Tensor, "N D"] = load_file(file)[key].float()
        self.vectors = vectors[None] if vectors.dim() == 1 else vectors
        if self.vectors.dim() != 2 or not len(self.vectors) or not self.vectors.isfinite().all():
            raise ModelError(f"{file}: {key} has the shape {tuple(vectors.shape)}; expected finite vectors, one per row")
        # the names that diffusers has for the vectors of one token
        self.names = [self.token, *(f"{self.token}_{index}" for index in range(1, len(self.vectors)))]
        self.key = f"{self.token} {checksums(file)[0]}"

    def add_to_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Make the token, and one more for each further vector, a part of the vocabulary.

        Raises:
            ModelError: it exists already, or can be no token.
        """
        vocabulary = tokenizer.get_vocab()
        if known := next((name for name in self.names if name in vocabulary), None):
            raise ModelError(f"{self.file}: the token {known!r} exists already: expected one that the tokenizer does not know")
        if tokenizer.add_tokens(self.names) != len(self.names):
            raise ModelError(f"{self.file}: {self.token!r} can be no token")

    @property
    def encoders(self) -> list[int]:
        """The numbers of the text encoders that the file has vectors for."""
        return sorted(token_of(self.file)[1])

    @torch.no_grad()
    def add_to_encoder(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Store the vectors as the embeddings of their tokens.

        Raises:
            ModelError: they have another width than the encoder's.
        """
        table, ids = network.get_input_embeddings(), tokenizer.convert_tokens_to_ids(self.names)
        if self.vectors.shape[1] != table.embedding_dim:
            widths = f"{self.vectors.shape[1]} numbers, but the text encoder's {table.embedding_dim}"
            raise ModelError(f"{self.file}: the vectors of {self.token!r} have {widths}: they belong to another model")
        # not resize_token_embeddings, which draws random numbers, and may take rows away
        rows = (
            table.weight.new_zeros(max(ids) + 1 - len(table.weight), table.embedding_dim)
            if max(ids) >= len(table.weight)
            else None
        )
        weight = table.weight if rows is None else torch.cat([table.weight, rows])
        weight[ids] = self.vectors.to(weight)
        table.weight, table.num_embeddings = nn.Parameter(weight, requires_grad=False), len(weight)
        network.config.vocab_size = len(weight)
        for module in network.modules():
            if getattr(module, "eos_token_id", None) == 2:
                # CLIP takes the token of the highest number for the end of a text then, which would be the new one
                module.eos_token_id = tokenizer.eos_token_id

    def __str__(self) -> str:
        count = len(self.vectors)
        return f"textual inversion {self.file}: the token {self.token!r} has {count} vector{'s' if count > 1 else ''}"


def expanded(text: str, tokenizer: PreTrainedTokenizerBase, inversions: list[TextualInversion]) -> str:
    """The text with every further token of a token of several vectors written out behind it."""
    if not inversions:
        return text
    by_id = {tokenizer.convert_tokens_to_ids(each.token): " ".join(each.names) for each in inversions}
    encoded = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    for (start, end), token in reversed(list(zip(encoded.offset_mapping, encoded.input_ids, strict=True))):
        if token in by_id:
            text = text[:start] + by_id[token] + text[end:]
    return text
