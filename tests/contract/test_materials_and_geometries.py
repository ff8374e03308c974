"""Every geometry under every renderer that can render it, with every material: a lit render has finite values and gradients."""

import pytest
import torch

from threefusion.cli.describe import components
from threefusion.config.catalogue import BUILT_IN, settings_class
from threefusion.errors import UserError
from threefusion.geometry.geometry import HasCanvas
from threefusion.testing import small_scene, views
from threefusion.types import Shading, Want


def shipped(kind):
    return [found["name"] for found in components(kind) if found["origin"] == BUILT_IN]


def defaults(kind, name):
    """The settings of a component, or None if some have to be given."""
    cls = settings_class(kind, name)
    try:
        return cls()
    except TypeError:
        return None


@pytest.mark.parametrize("material", shipped("material"))
@pytest.mark.parametrize("renderer", shipped("renderer"))
@pytest.mark.parametrize("geometry", shipped("geometry"))
def test_a_lit_render_is_finite(geometry, renderer, material):
    names = {"geometry": geometry, "renderer": renderer, "material": material}
    parts = {kind: defaults(kind, name) for kind, name in names.items()}
    if None in parts.values():
        pytest.skip("has settings without a default")
    try:
        scene, built = small_scene(**parts)
    except UserError as error:
        assert (geometry, material) == ("fixed-mesh", "normal") and "none to learn" in str(error)
        return
    if not isinstance(scene.geometry, built.needs) or isinstance(scene.geometry, HasCanvas):
        pytest.skip("refused before training, or a flat picture")
    for shading in Shading:
        batch = views(size=16, shading=shading)
        render = built(scene, batch, Want(random=True))
        assert render.image.isfinite().all() and render.image.shape == (2, 16, 16, 3)
        parameters = [parameter for parameter in scene.parameters() if parameter.requires_grad]
        gradients = torch.autograd.grad(render.image.square().mean(), parameters, allow_unused=True)
        reached = [gradient for gradient in gradients if gradient is not None]
        assert reached and all(gradient.isfinite().all() for gradient in reached)
