"""A prior with its prompt: predictions of the noise under the words of a batch of views."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from threefusion.guidance.contrast.cfg import ClassifierFreeGuidance
from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import CFGConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions, predict
from threefusion.guidance.prior.conditioning import PromptConditioning
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.schedule import NoiseSchedule

PLAIN = ClassifierFreeGuidance(CFGConfig())
ALWAYS = (0.0, 1.0)
"""The interval of all times."""


def is_guided(t: Float[Tensor, "B"], interval: tuple[float, float]) -> Bool[Tensor, "B"] | None:
    """Whether each time lies in the interval, both ends included; None if that holds for all times."""
    # a mask on a GPU makes the host wait once, since the size of the batch depends on it
    return None if interval == ALWAYS else (interval[0] <= t) & (t <= interval[1])


@dataclass(frozen=True)
class Denoiser:
    """Predicts the noise in states of one batch of views; every method is one call of the network."""

    prior: DiffusionPrior
    prompt: PromptConditioning
    contrast: Contrast
    scale: float
    step: int
    """The optimiser step, for schedules."""
    interval: tuple[float, float] = ALWAYS
    """Times at which the contrast applies, both included; at others the prediction is that under the text."""

    @property
    def schedule(self) -> NoiseSchedule:
        """The prior's noise schedule."""
        return self.prior.schedule

    def predictions(self, views: NoisedViews) -> Predictions:
        """The predictions that the contrast needs, by condition."""
        conditions = self.contrast.conditions(self.prompt, self.scale, self.step)
        return predict(self.prior, views.z, views.t, conditions, is_guided(views.t, self.interval))

    def combine(self, predicted: Predictions, views: NoisedViews) -> Float[Tensor, "B C h w"]:
        """The contrast of predictions at these views."""
        return self.contrast.combine(predicted, views, self.prompt, self.scale, self.step)

    def combined(self, views: NoisedViews) -> Float[Tensor, "B C h w"]:
        """The contrast at these views."""
        return self.combine(self.predictions(views), views)

    def text(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"]) -> Float[Tensor, "B C h w"]:
        """The prediction under the words alone."""
        return predict(self.prior, z, t, {"text": self.prompt.text})["text"]

    def uncond(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"]) -> Float[Tensor, "B C h w"]:
        """The prediction under the empty prompt."""
        return predict(self.prior, z, t, {"uncond": self.prompt.uncond})["uncond"]

    def guided(self, views: NoisedViews, scale: float) -> Float[Tensor, "B C h w"]:
        """The prediction under classifier-free guidance at another scale, whatever the contrast is."""
        predicted = predict(self.prior, views.z, views.t, PLAIN.conditions(self.prompt, scale, self.step))
        return PLAIN.combine(predicted, views, self.prompt, scale, self.step)
