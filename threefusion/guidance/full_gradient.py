"""The diffusion loss differentiated as it stands, the U-Net included: what DreamFusion tried first and dropped."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.conditions import guided_conditions, guided_noise, predict
from threefusion.guidance.guidance import Guidance
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.settings import FullGradientConfig
from threefusion.types import GuidanceOutput, PromptEmbeddings, ViewBatch


class FullGradient(Guidance):
    """w(t) ‖predicted noise - noise‖², differentiated through the network (arXiv 2209.14988, eq. 2).

    Its gradient is that of score distillation multiplied by 2 alpha Jᵀ, with J the network's Jacobian, which at low noise is
    badly conditioned: the results are poor, at three times the memory. It is here so that anyone can see why the Jacobian is
    left out.
    """

    def __init__(self, cfg: FullGradientConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self.cfg = cfg

    def forward(self, image: Float[Tensor, "B H W 3"], embedding: PromptEmbeddings, batch: ViewBatch) -> GuidanceOutput:
        """The weighted squared error of the noise prediction, summed over each view, a mean over views."""
        views = self.noised(self.encode(image, batch), batch)
        scale = self.cfg.guidance_scale(batch.step)
        predicted = predict(self.prior, views, embedding, guided_conditions(embedding, scale))
        error = guided_noise(predicted, scale) - views.noise
        loss = (self.weight(views) * error.square()).sum() / len(batch)
        error_norm = error.detach().flatten(1).norm(dim=1).mean()
        return GuidanceOutput(loss, {"error_norm": error_norm, "timestep": views.timesteps.float().mean()})
