"""The objectives and loss terms of a system: whether they fit, which are active, the sum of the objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from threefusion.camera.sampler import CameraSampler
from threefusion.config import RunConfig, Schedule, Settings
from threefusion.errors import UserError
from threefusion.guidance.guidance import DiffusionGuidance, Guidance, GuidanceOutput
from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import ReferenceConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts, Want


def check_parts(config: RunConfig, camera: CameraSampler, guidance: nn.ModuleDict) -> None:
    """Refuse objectives that do not fit the camera or the config.

    Raises:
        UserError: the message names the setting.
    """
    size = camera.group_size
    if camera.batch_size % size:
        raise UserError(f"camera.batch_size: {camera.batch_size} is not a multiple of {size}, the size of a group of views")
    joint = max((prior.group_size for objective in guidance.values() for prior in objective.priors()), default=1)
    if size % joint:
        raise UserError(
            f"camera: draws views in groups of {size}, but the prior denoises {joint} jointly: camera.group_size={joint}"
        )
    solid = getattr(config.background, "color", None) == "#000000" and not getattr(config.background, "random_probability", 0)
    if not solid and any(getattr(objective.cfg, "backgrounds", False) for objective in guidance.values()):
        raise UserError("guidance: clip draws backgrounds of its own, over black: set background={type: solid, color: '#000000'}")
    diffusion = any(isinstance(objective, DiffusionGuidance) for objective in guidance.values())
    if config.facing.steps and (joint > 1 or not diffusion):
        raise UserError("facing.steps: need a guidance with a diffusion prior over single views; set facing.steps=[]")
    if config.facing.steps and any(getattr(objective.cfg, "input", "") == "latents" for objective in guidance.values()):
        raise UserError("facing.steps: need an objective on images; set facing.steps=[]")
    if config.facing.steps and any(prior.reads_render for objective in guidance.values() for prior in objective.priors()):
        raise UserError("facing.steps: need a prior that depends on nothing but a text; set facing.steps=[]")


def own_rates(guidance: nn.ModuleDict) -> dict[str, Schedule]:
    """The learning rates that objectives name for what they train, by the name of a group of the optimiser."""
    return {f"guidance.{name}.{key}": rate for name, part in guidance.items() for key, rate in part.rates().items()}


def with_groups(optimizer: Settings, rates: Mapping[str, Schedule]) -> Settings:
    """The settings of an optimiser with groups for `rates`.

    Raises:
        UserError: it names one of the groups itself.
    """
    if not rates:
        return optimizer
    groups = getattr(optimizer, "groups", {})
    for name in rates:
        if name in groups:
            raise UserError(f"optimizer.groups.{name}: the guidance has a learning rate of its own for this, its lr")
    return replace(optimizer, groups={**groups, **{name: rate.largest for name, rate in rates.items()}})


def active(terms: nn.ModuleDict, step: int) -> dict[str, tuple[Any, float]]:
    """Objectives or loss terms with a weight other than 0 at `step`, with their weights."""
    weighted = {name: (term, term.cfg.weight(step)) for name, term in terms.items()}
    return {name: pair for name, pair in weighted.items() if pair[1] != 0}


def with_picture(loss: Settings, guidance: Mapping[str, Settings]) -> Settings:
    """The settings of a loss term; those of a `reference` without a picture get the picture and pose of a prior that has them."""
    priors = [getattr(objective, "prior", None) for objective in guidance.values()]
    given = next((prior for prior in priors if getattr(prior, "image", None)), None)
    if not isinstance(loss, ReferenceConfig) or loss.image or given is None:
        return loss
    return replace(loss, **{name: getattr(given, name) for name in ("image", "elevation_deg", "azimuth_deg", "distance")})


def term_value(
    term: LossTerm, render: RenderOutput, batch: ViewBatch, draw: Callable[[ViewBatch, Want], RenderOutput]
) -> Float[Tensor, ""]:
    """A loss term on the views of the batch, or on those of its own, which `draw` renders."""
    own = term.own_views(batch)
    return term(render, batch) if own is None else term(draw(own, term.wants | Want(random=True)), own)


def guidance_loss(
    objectives: Mapping[str, tuple[Guidance, float]], render: RenderOutput, prompt: ViewTexts, batch: ViewBatch, named: bool
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """The weighted sum of the objectives, plus their critics' losses; and metrics, with the objective's name if `named`."""
    metrics = {}
    # A graph even where no objective is active: such a step moves nothing.
    loss = 0.0 if objectives else 0 * render.image.sum()
    for name, (objective, weight) in objectives.items():
        output: GuidanceOutput = objective(render, prompt, batch)
        objective.seen = output.seen
        loss = loss + weight * output.loss
        prefix = f"{name}." if named else ""
        metrics |= {name: output.loss.detach()} | {prefix + key: value for key, value in output.metrics.items()}
        if output.critic_loss is not None:
            loss = loss + output.critic_loss
            metrics[f"{prefix}critic"] = output.critic_loss.detach()
    return loss, metrics
