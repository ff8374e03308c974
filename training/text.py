"""Word-level tokenizer of both bundled priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from training.captions import known_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LENGTH = 16
"""Tokens per prompt, padding included."""
PAD, UNKNOWN, START, END = "<pad>", "<unk>", "<s>", "</s>"


def build_tokenizer(start: bool) -> PreTrainedTokenizerFast:
    """One token per known word; punctuation and case are ignored. `start` prepends a start token, as in CLIP."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([PAD, UNKNOWN, START, END, *known_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"[^a-z0-9]+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}" if start else f"$A {END}", special_tokens=[(t, vocabulary[t]) for t in (START, END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LENGTH, pad_token=PAD, unk_token=UNKNOWN, bos_token=START, eos_token=END
    )


def tokenize(
    tokenizer: PreTrainedTokenizerFast, captions: list[str], length: int = LENGTH
) -> tuple[Int[Tensor, "B L"], Int[Tensor, "B L"]]:
    """Token ids and the mask of real tokens, padded to `length`."""
    tokens = tokenizer(captions, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return tokens.input_ids.to(torch.long), tokens.attention_mask.to(torch.long)
