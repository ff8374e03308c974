"""Base class of critics: trainable copies of a prior's predictor that learn how a run's own renders are distributed."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from threefusion.guidance.prior.conditioning import Conditioning, Prediction
from threefusion.guidance.prior.schedule import NoiseSchedule


class Critic(nn.Module, ABC):
    """Predicts what its prior does until it is trained; the prior's own predictions stay as they are.

    Its parameters are those that are trained: no weights of the prior are in a checkpoint.
    """

    @property
    @abstractmethod
    def schedule(self) -> NoiseSchedule:
        """The prior's noise schedule."""

    @abstractmethod
    def forward(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning, pose: Float[Tensor, "B 16"]
    ) -> Prediction:
        """The prediction at noised states, in the form in which the prior predicts.

        `pose` is the camera-to-world matrix of each view, row by row; zeros where it is unknown.
        """

    def loss(
        self,
        x: Float[Tensor, "B C h w"],
        noise: Float[Tensor, "B C h w"],
        t: Float[Tensor, "B"],
        condition: Conditioning,
        pose: Float[Tensor, "B 16"],
    ) -> Float[Tensor, ""]:
        """The diffusion loss: the mean squared error of what the network predicts, be it noise, clean sample or velocity."""
        prediction = self(self.schedule.add_noise(x, noise, t), t, condition, pose)
        error = (prediction.output - prediction.exact(x, noise)).square()
        # The gradient is that of a sum over elements, which float16 can hold; steps of Adam do not depend on its size.
        total = error.sum() / len(x)
        return error.detach().mean() + (total - total.detach())
