"""Base classes of guidance objectives: what a loss on rendered images needs, with and without a diffusion prior."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from threefusion.component import Component
from threefusion.config.fields import Schedule
from threefusion.errors import UserError
from threefusion.guidance.embedding import TextEmbeddings, fill
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.conditioning import PromptConditioning
from threefusion.guidance.prior.embedding_cache import embed_texts
from threefusion.guidance.prior.image import resize
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.settings import DiffusionGuidanceConfig, GuidanceConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts, Want


@dataclass(frozen=True)
class Seen:
    """What a prior was shown of a batch of views and what it wanted, for people to look at; no gradients."""

    noised: NoisedViews
    noise: Float[Tensor, "B C h w"] | None
    """The guided prediction of the noise; None where the contrast is a direction, which predicts none."""
    gradient: Float[Tensor, "B C h w"]
    """What was injected as the gradient of the encoded views."""


@dataclass(frozen=True)
class GuidanceOutput:
    """The loss of one objective on a batch of views."""

    loss: Float[Tensor, ""]
    metrics: dict[str, Float[Tensor, ""]]
    critic_loss: Float[Tensor, ""] | None = None
    """The loss of networks that the objective trains itself, added to the total as it is; no gradient to the scene."""
    seen: Seen | None = None
    """None where no prior was asked, or nothing but a loss is known."""


class Guidance(Component):
    """A loss on rendered images that a run minimises, with a weight of its own.

    Derive from this class for an objective without a diffusion prior (CLIP), else from `DiffusionGuidance`. All randomness comes
    from the views' own generators: neither the split of a batch nor a resume changes it.
    """

    kind: ClassVar[str] = "guidance"
    seen: Seen | None = None
    """What its prior was shown in the last step."""
    reads_plain: ClassVar[bool] = False
    """Whether the prompt's text without a view is among the texts that it encodes, `ViewTexts.plain`."""
    cfg: GuidanceConfig

    @abstractmethod
    def forward(self, render: RenderOutput, prompt: ViewTexts, views: ViewBatch) -> GuidanceOutput:
        """The loss, a mean over views, and metrics to log."""

    @property
    def wants(self) -> Want:
        """What the render has to contain beside image, opacity and depth."""
        return Want(normals=self.cfg.input == "normal")

    def priors(self) -> tuple[DiffusionPrior, ...]:
        """The diffusion priors of the objective: what has to be loaded, and whose evaluations are counted."""
        return ()

    def trainable(self) -> nn.ModuleDict:
        """Modules of the objective that are trained with the scene: the optimiser's groups are `guidance.<objective>.<key>…`.

        First called when all priors are loaded.
        """
        return nn.ModuleDict()

    def rates(self) -> dict[str, Schedule]:
        """Learning rates of parts of `trainable()`, by key; the others have the optimiser's."""
        return {}

    def embed_texts(self, texts: list[str]) -> None:
        """Encode all texts of the run; called once, before any prior is loaded."""

    def image(self, render: RenderOutput) -> Float[Tensor, "B H W C"]:
        """The image that `cfg.input` selects, in [0, 1]; world-space normals as colours, grey where there is no surface.

        Raises:
            UserError: latents are selected, and none were rendered.
        """
        if self.cfg.input == "image":
            return render.image
        if self.cfg.input == "latents":
            if render.latents is None:
                raise UserError("guidance.input: latents are rendered with material=latent alone")
            return render.latents
        assert render.normal is not None
        return 0.5 * (render.normal + 1)


class DiffusionGuidance(Guidance):
    """An objective with a frozen diffusion prior. Written against `DiffusionPrior` alone, it runs on every prior."""

    cfg: DiffusionGuidanceConfig
    embeddings: TextEmbeddings

    def __init__(self, cfg: DiffusionGuidanceConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg)
        self.prior = prior

    def priors(self) -> tuple[DiffusionPrior, ...]:
        """The one prior."""
        return (self.prior,)

    @property
    def wants(self) -> Want:
        """What the objective and the prior's conditioning read of a render."""
        return super().wants | self.prior.wants

    @property
    def templates(self) -> tuple[str, ...]:
        """Texts that the objective needs beside those of the prompt; in them, {prompt} stands for the text of a view."""
        return ()

    def embed_texts(self, texts: list[str]) -> None:
        """Encode the texts with the prior's own encoder, which is loaded, used and freed."""
        texts = list(dict.fromkeys([*texts, *(fill(template, text) for template in self.templates for text in texts)]))
        self.embeddings = TextEmbeddings(texts, embed_texts(self.prior.text_encoder(), texts))

    def embed(self, prompt: ViewTexts, views: ViewBatch, render: RenderOutput | None = None) -> PromptConditioning:
        """The prior's conditioning of every view; its render shows what the objective is computed on."""
        if render is not None and self.cfg.input == "normal":
            render = replace(render, image=self.image(render))
        return self.prior.condition(self.embeddings(prompt, self.templates), views, render)

    def encode(self, image: Float[Tensor, "B H W D"], views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The images in the prior's space; gradient flows. Rendered latents are only resized.

        Raises:
            UserError: these have not the channels of that space.
        """
        if self.cfg.input == "latents":
            channels, size, _ = self.prior.shape
            if image.shape[-1] != channels:
                raise UserError(f"guidance.input: the material renders {image.shape[-1]} channels, the prior has {channels}")
            return resize(image.float(), size).permute(0, 3, 1, 2)
        noise = views.randn("posterior", *self.prior.shape) if self.prior.stochastic_encoder else None
        return self.prior.encode(image, noise)

    def draw_time(self, views: ViewBatch) -> Float[Tensor, "B"]:
        """One random time per group of views, in the scheduled range."""
        cfg, step = self.cfg, views.step
        return self.prior.schedule.draw(views.rand_per_group("timestep"), cfg.t_min(step), cfg.t_max(step))

    def noised(self, x: Float[Tensor, "B C h w"], views: ViewBatch) -> NoisedViews:
        """Encoded views at one random time per group of views, with fresh noise per view; `z` has a gradient if `x` has."""
        return NoisedViews.along(self.prior.schedule, x, views.randn("noise", *x.shape[1:]), self.draw_time(views))
