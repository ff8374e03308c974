"""The objectives of a run from its config."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from threefusion.config import Settings
from threefusion.guidance.guidance import Guidance
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.settings import DiffusionGuidanceConfig, GuidanceConfig
from threefusion.registry import build


def build_objective(cfg: GuidanceConfig, prior_of: Callable[[Settings], DiffusionPrior]) -> Guidance:
    """One objective, with the prior that `prior_of` returns for its settings, if it has one."""
    return build(cfg, prior_of(cfg.prior)) if isinstance(cfg, DiffusionGuidanceConfig) else build(cfg)


def build_objectives(
    configs: Mapping[str, GuidanceConfig],
    texts: list[str],
    plain: str,
    build_prior: Callable[[Settings], DiffusionPrior] = build,
) -> nn.ModuleDict:
    """Guidance objectives by name, their texts embedded. Objectives with equal prior settings share one prior.

    `plain` is the text without a view. Every text encoder is loaded, used and freed before the first network is loaded.
    """
    built: list[tuple[Settings, DiffusionPrior]] = []

    def prior_of(wanted: Settings) -> DiffusionPrior:
        for cfg, prior in built:
            if cfg == wanted:
                return prior
        built.append((wanted, build_prior(wanted)))
        return built[-1][1]

    objectives = nn.ModuleDict({name: build_objective(cfg, prior_of) for name, cfg in configs.items()})
    for guidance in objectives.values():
        guidance.embed_texts([*texts, plain] if guidance.reads_plain else texts)
    for _, prior in built:
        prior.load()
    for guidance in objectives.values():
        guidance.trainable()
    return objectives
