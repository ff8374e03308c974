"""A whole system from a config."""

from __future__ import annotations

from collections.abc import Callable

from threefusion.background.settings import SolidConfig
from threefusion.config import RunConfig, Settings
from threefusion.errors import UserError
from threefusion.geometry.geometry import HasSurface
from threefusion.guidance.build import build_objectives
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.machine.random import seeded
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.system.before import Before
from threefusion.system.scene import build_scene
from threefusion.system.start import Source
from threefusion.system.text_to_3d import TextTo3D
from threefusion.types import Scene


def build_system(
    config: RunConfig,
    previous: Source | None = None,
    restoring: bool = False,
    build_prior: Callable[[Settings], DiffusionPrior] = build,
) -> TextTo3D:
    """The whole system. Text encoders are loaded, used and freed before the first network of a prior is loaded.

    Initial parameters are a function of `config.seed` alone, and of `previous`, which the scene starts from; they do not
    matter if a checkpoint is loaded afterwards (`restoring`).
    """
    prompt = build(config.prompt)
    with seeded(config.seed):
        objectives = build_objectives(config.guidance, prompt.texts(), prompt.cfg.text, build_prior)
    scene, renderer = build_scene(config, previous, restoring)
    system = TextTo3D(config, scene, renderer, prompt, objectives)
    compared = any(part.wants.source for part in (*objectives.values(), *system.losses.values()))
    source = previous or original(scene, renderer)
    if compared and source is None:
        raise UserError(
            "guidance: it compares with the scene that the training starts from, and this one starts from nothing: set "
            "geometry.init_from, or make it a stage after another one"
        )
    system.before = Before(source, scene) if compared else None
    return system


def original(scene: Scene, renderer: Renderer) -> Source | None:
    """A scene as it is before its training, where its geometry keeps that."""
    geometry = scene.geometry.original() if isinstance(scene.geometry, HasSurface) else None
    if geometry is None:
        return None
    return Source(Scene(geometry, scene.material, build(SolidConfig())), renderer, "the mesh file")
