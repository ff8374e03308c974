"""The texts of a run as conditioning of one prior's network."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.machine.tensors import send
from threefusion.types import ViewTexts


def fill(template: str, text: str) -> str:
    """The template with `text` for `{prompt}`, whatever braces either has besides.

    >>> fill("{prompt}, blurry", "a red ball, front view")
    'a red ball, front view, blurry'
    """
    return template.replace("{prompt}", text)


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

    def forward(self, prompt: ViewTexts, templates: Iterable[str] = ()) -> PromptConditioning:
        """The conditioning of every view: its texts mixed by their weights, the empty text, the negative ones, the templates.

        Raises:
            KeyError: a text was not embedded.
        """
        count = len(prompt.weight)
        text = self._select(*prompt.texts)
        uncond, *negatives = (self._select(other).expand(count) for other in ("", *prompt.negatives))
        variants = {
            template: self._select(*(fill(template, view) for view in prompt.texts)).mix(prompt.weight) for template in templates
        }
        parts = tuple(text[i : i + 1].expand(count) for i in range(len(text)))
        return PromptConditioning(text.mix(prompt.weight), uncond, tuple(negatives), parts, prompt.weight, variants)

    def _select(self, *texts: str) -> Conditioning:
        table = Conditioning(**{name: getattr(self, name) for name in self._names})
        rows = torch.tensor([self._rows[text] for text in texts])
        return table[send(rows, table.tokens.device)]
