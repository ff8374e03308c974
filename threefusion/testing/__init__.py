"""Contract tests of components, for built-in ones and plugins.

from threefusion.testing import check_component

def test_contract():
    check_component("loss", "color-variance")
"""

from __future__ import annotations

from typing import Any

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError, nearest
from threefusion.testing.samples import image_render, sample_guidance, sample_prompt, small_scene, synthetic_render, views

__all__ = [
    "check_component",
    "image_render",
    "sample_guidance",
    "sample_prompt",
    "small_scene",
    "synthetic_render",
    "views",
]


def check_component(kind: str, name: str, **settings: Any) -> None:
    """Build a component from its defaults (and `settings`) and test the contract of its kind.

    Shapes and types, finite values and gradients, empty input, saving and loading the `state_dict`, determinism; for guidance
    and losses, also that the value for a batch is the mean over its views.

    Raises:
        AssertionError: it breaks the contract; the message says which part.
        UserError: there is no such kind or component, or it cannot be built.
    """
    from threefusion.testing import distillation, judges, scene

    contracts = scene.CONTRACTS | judges.CONTRACTS | distillation.CONTRACTS
    if kind not in contracts:
        raise UserError(f"no kind of component is called {kind!r}{nearest(kind, contracts)}")
    contracts[kind](settings_class(kind, name)(**settings))
