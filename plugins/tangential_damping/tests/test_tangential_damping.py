"""Its contract, its identity with classifier-free guidance, and what it keeps of the unconditional prediction."""

import torch
from tangential_damping.settings import TangentialDampingConfig

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.registry import build
from threefusion.testing import check_component, image_render, sample_guidance, sample_prompt, views

NAME = "tangential-damping"
DAMPING = TangentialDampingConfig.__dataclass_fields__["damping"].default


def normal(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def combine(uncond, text, scale, damping=DAMPING):
    contrast = build(settings_class("contrast", NAME)(damping=damping))
    return contrast.combine({"uncond": uncond, "text": text}, None, None, scale, 0)


def gradient(contrast):
    """Of two images under score distillation, on the Gaussian prior."""
    guidance = sample_guidance(settings_class("guidance", "sds")(contrast=contrast))
    image = torch.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3).requires_grad_()
    return torch.autograd.grad(guidance(image_render(image), sample_prompt(2, negative=False), views(2)).loss, image)[0]


def test_contract():
    check_component("contrast", NAME)
    check_component("guidance", "sds", contrast=settings_class("contrast", NAME)())


def test_without_damping_it_is_classifier_free_guidance():
    own = gradient(settings_class("contrast", NAME)(damping=Schedule.constant(0.0)))
    torch.testing.assert_close(own, gradient(settings_class("contrast", "cfg")()), rtol=1e-4, atol=1e-6)
    assert (gradient(settings_class("contrast", NAME)()) - own).abs().max() > 0.1 * own.abs().max()


def test_the_damped_prediction_is_parallel_to_the_first_singular_vector_of_both():
    uncond, text = normal(2, 3, 8, 8), 2 * normal(2, 3, 8, 8).flip(0)
    shared = torch.linalg.svd(torch.stack([uncond, text], dim=1).flatten(2), full_matrices=False).Vh[:, 0]
    along = (uncond.flatten(1) * shared).sum(1, keepdim=True)
    torch.testing.assert_close(combine(uncond, text, scale=0.0).flatten(1), along * shared)


def test_a_prediction_that_overflowed_stays_so_that_the_step_is_skipped():
    assert combine(normal(1, 3, 8, 8) * torch.nan, normal(1, 3, 8, 8), scale=2.0).isnan().all()


def test_each_view_is_damped_by_itself():
    uncond, text = normal(2, 3, 8, 8), normal(2, 3, 8, 8).flip(1)
    both = combine(uncond, text, scale=7.5)
    for i in range(2):
        torch.testing.assert_close(both[i : i + 1], combine(uncond[i : i + 1], text[i : i + 1], scale=7.5))
