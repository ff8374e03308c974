"""The texts of a run as conditioning of one prior's network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.machine.tensors import send
from threefusion.types import ViewTexts


@dataclass(frozen=True)
class PromptConditioning:
    """The conditioning of B views under each kind of prompt."""

    text: Conditioning
    uncond: Conditioning
    """The empty prompt, always: negative prompts are kept apart."""
    negatives: tuple[Conditioning, ...] = ()

    @property
    def negative(self) -> Conditioning:
        """The first negative prompt.

        Raises:
            UserError: there is none.
        """
        if not self.negatives:
            raise UserError("prompt.negative: required, because the chosen guidance needs a negative prompt")
        return self.negatives[0]


class TextEmbeddings(nn.Module):
    """The embeddings of a run's texts. They are buffers that stay out of checkpoints: a run's config defines them.

    >>> table = TextEmbeddings(["front", "back", ""], Conditioning(torch.tensor([[[2.0]], [[4.0]], [[0.0]]])))
    >>> table(ViewTexts(("front", "back"), torch.tensor([[0.5, 0.5]]))).text.tokens.item()
    3.0
    """

    def __init__(self, texts: list[str], conditioning: Conditioning) -> None:
        super().__init__()
        self._rows = {text: row for row, text in enumerate(texts)}
        self._names = [name for name, value in vars(conditioning).items() if value is not None]
        for name in self._names:
            self.register_buffer(name, getattr(conditioning, name), persistent=False)

    def forward(self, prompt: ViewTexts) -> PromptConditioning:
        """The conditioning of every view: its texts mixed by their weights, the empty text and the negative ones.

        Raises:
            KeyError: a text was not embedded.
        """
        count = len(prompt.weight)
        text = self._select(*prompt.texts).mix(prompt.weight)
        uncond, *negatives = (self._select(other).expand(count) for other in ("", *prompt.negatives))
        return PromptConditioning(text, uncond, tuple(negatives))

    def _select(self, *texts: str) -> Conditioning:
        table = Conditioning(**{name: getattr(self, name) for name in self._names})
        rows = torch.tensor([self._rows[text] for text in texts])
        return table[send(rows, table.tokens.device)]
