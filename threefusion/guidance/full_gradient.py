"""The diffusion loss differentiated through the U-Net as well: what DreamFusion tried first and dropped."""

from __future__ import annotations

from threefusion.guidance.denoiser import PLAIN, Denoiser
from threefusion.guidance.guidance import DiffusionGuidance, GuidanceOutput
from threefusion.guidance.score import WEIGHTS
from threefusion.guidance.settings import FullGradientConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts


class FullGradient(DiffusionGuidance):
    """w(t) ‖predicted noise - noise‖², differentiated through the network (arXiv 2209.14988, eq. 2).

    Its gradient is that of score distillation multiplied by 2 alpha Jᵀ, with J the network's Jacobian, which is badly conditioned
    at low noise: results are poor, at three times the memory. It is a baseline that shows why the Jacobian is left out.
    """

    cfg: FullGradientConfig

    def forward(self, render: RenderOutput, prompt: ViewTexts, views: ViewBatch) -> GuidanceOutput:
        """The weighted squared error of the noise prediction, summed over each view, a mean over views."""
        noised = self.noised(self.encode(self.image(render), views), views)
        conditioning = self.embed(prompt, views, render)
        denoiser = Denoiser(self.prior, conditioning, PLAIN, self.cfg.guidance_scale(views.step), views.step)
        error = denoiser.combined(noised) - noised.noise
        weight = WEIGHTS[self.cfg.timestep_weight](noised.alpha, noised.sigma)
        loss = (weight * error.square()).sum() / len(views)
        error_norm = error.detach().flatten(1).norm(dim=1).mean()
        return GuidanceOutput(loss, {"error_norm": error_norm, "t": noised.t.mean()})
