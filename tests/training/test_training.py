"""Training data and the training loop: what is drawn, and that a resumed run is the same run."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from threefusion.guidance.prior.models import BUNDLED
from threefusion.toyworld.captions import find_color
from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.render import render_surface
from training.captions import held_out, view_word
from training.data import LIT, NAMES, TEXTURELESS, UNLIT, compose, draw_batch, draw_surroundings
from training.diffusion import EXTRA, LATE, noise_levels, posterior_mean, v_loss
from training.judge import JudgeRecipe
from training.latent import LatentRecipe, VaeRecipe
from training.muon import MatrixOptimizer
from training.pixel import PixelRecipe, build_scheduler
from training.rendering import random_cameras
from training.text import LENGTH, build_tokenizer, tokenize
from training.train import Plan, Trainer
from training.views import ViewStore, pack, unpack


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A shard of noise in the place of rendered views; a corner shows the background."""
    folder = tmp_path_factory.mktemp("views")
    generator = np.random.default_rng(0)
    packed = generator.integers(0, 255, (len(CLASSES), 2, 64, 64, 11), dtype=np.uint8)
    packed[:, :, :4, :4, :5] = 0
    np.save(folder / "views-000.npy", packed)
    np.save(folder / "views-000.cameras.npy", generator.normal(size=(len(CLASSES), 2, 5)).astype(np.float32))
    return ViewStore(folder)


def tiny(store, folder, plan):
    return Trainer(PixelRecipe(widths=(32, 40), batch_size=4), store, folder, plan)


def test_a_resumed_run_is_the_same_run(store, tmp_path):
    plan = Plan(steps=6, warm_up=2)
    straight = tiny(store, tmp_path / "straight", plan)
    straight.run()
    first = tiny(store, tmp_path / "resumed", plan)
    for _ in range(3):
        first.update()
    first.save()
    second = tiny(store, tmp_path / "resumed", plan)
    assert second.step == 3
    second.run()
    assert second.step == 6
    for name, value in straight.recipe.networks.state_dict().items():
        assert torch.equal(value, second.recipe.networks.state_dict()[name]), name
    for name, value in straight.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name


@pytest.mark.parametrize("what", ["pixel", "latent", "judge"])
def test_a_training_begins_with_shipped_weights(store, tmp_path, what):
    folder = BUNDLED / f"toyworld-{what}"
    if what == "latent":
        autoencoder = VaeRecipe()
        autoencoder.start_from(folder)
        recipe = LatentRecipe(autoencoder.networks["vae"], store)
    else:
        recipe = PixelRecipe() if what == "pixel" else JudgeRecipe()
    recipe.start_from(folder)
    recipe.export(Trainer(recipe, store, tmp_path / "state", Plan(steps=1)).average, tmp_path / "again")
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.safetensors"))
    assert files
    for path in files:
        shipped, again = load_file(folder / path), load_file(tmp_path / "again" / path)
        assert shipped.keys() == again.keys()
        assert all(torch.equal(shipped[name], again[name]) for name in shipped), path


def test_training_reaches_every_layer(store, tmp_path):
    trainer = tiny(store, tmp_path, Plan(steps=9))
    # the last layer starts at zero, so gradients need a step to come through
    trainer.update()
    loss = trainer.recipe.loss(draw_batch(store, 4, 32, trainer.generator), trainer.generator)
    loss.backward()
    silent = [n for n, p in trainer.recipe.networks.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent


def test_the_rate_rises_holds_and_falls():
    plan = Plan(steps=1000, warm_up=100, cool_down=0.4)
    assert plan.rate(0, 0.0) == pytest.approx(0.01)
    assert plan.rate(300, 0.0) == pytest.approx(1.0)
    assert plan.rate(800, 0.0) == pytest.approx(0.51)
    assert plan.rate(1000, 0.0) == pytest.approx(0.02)
    assert Plan(minutes=10.0).rate(10**6, 5.0) == 1.0


def test_batches_hold_no_held_out_pair_and_tell_the_truth(store):
    batch = draw_batch(store, 400, 32, torch.Generator().manual_seed(0))
    assert batch.images.shape == (400, 3, 32, 32)
    assert not any(held_out(name, color) for name, color in zip(batch.names, batch.colors, strict=True))
    for text, color, look in zip(batch.captions, batch.colors, batch.looks, strict=True):
        assert find_color(text) in ((None,) if look == TEXTURELESS else (None, color))
    shares = [batch.looks.count(look) / 400 for look in (UNLIT, LIT, TEXTURELESS)]
    assert shares == pytest.approx([0.5, 0.4, 0.1], abs=0.08)


def test_noise_levels_cover_everything_and_the_noisiest_more_often():
    levels = noise_levels(40_000, torch.Generator().manual_seed(0))
    assert 0 <= levels.min() and levels.max() <= 1
    assert (levels[: int(EXTRA * 40_000)] >= 1 - LATE - 1e-6).all()
    expected = [(1 - EXTRA) * 0.5, (1 - EXTRA) * (0.5 - LATE), EXTRA + (1 - EXTRA) * LATE]
    found = torch.histogram(levels, torch.tensor([0.0, 0.5, 1 - LATE, 1.0 + 1e-6])).hist / 40_000
    assert found.tolist() == pytest.approx(expected, abs=0.002)


def test_the_posterior_mean_is_the_best_guess():
    """Of all guesses it has the least error on average, so no sum of it and anything known is better."""
    generator = torch.Generator().manual_seed(0)
    among = torch.randn(3, 1, 2, 2, generator=generator)
    alpha = torch.full((20_000, 1, 1, 1), 0.3)
    truth = among[torch.randint(3, (20_000,), generator=generator)]
    noisy = alpha.sqrt() * truth + (1 - alpha).sqrt() * torch.randn(truth.shape, generator=generator)
    guess = posterior_mean(noisy, among.expand(20_000, 3, 1, 2, 2), alpha)
    error = guess - truth
    for known in (torch.ones_like(noisy), noisy, guess, noisy * guess):
        assert (error * known).mean().abs() < 4 * (error * known).std() / len(noisy) ** 0.5
    certain = posterior_mean(truth, among.expand(20_000, 3, 1, 2, 2), torch.full((20_000, 1, 1, 1), 1 - 1e-6))
    assert torch.allclose(certain, truth, atol=1e-3)
    nothing = posterior_mean(noisy, among.expand(20_000, 3, 1, 2, 2), torch.zeros(20_000, 1, 1, 1))
    assert torch.allclose(nothing, among.mean(0).expand_as(nothing), atol=1e-5)


class Constant(torch.nn.Module):
    """A network that answers the same everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = torch.nn.Parameter(torch.zeros(1, 1, 2, 2))

    def forward(self, noisy, *_, **__):
        return (self.answer.expand_as(noisy),)


def test_siblings_leave_what_is_learned_unchanged_on_average():
    scheduler = build_scheduler()
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 1, 2, 2, generator=generator)
    networks = (Constant(), Constant())
    for network, siblings in zip(networks, (0, 5), strict=True):
        for _ in range(400):
            clean = pictures[torch.randint(2, (64,), generator=generator)]
            others = pictures[torch.randint(2, (int(EXTRA * 64), siblings), generator=generator)]
            v_loss(network, clean, torch.zeros(64, 1, 1), scheduler, generator, others).backward()
    first, second = (network.answer.grad / 400 for network in networks)
    assert torch.allclose(first, second, atol=0.02 * first.abs().max().item())


def test_siblings_show_the_same_thing_from_the_same_side(store):
    batch = draw_batch(store, 8, 32, torch.Generator().manual_seed(0), siblings=(3, 5))
    assert batch.siblings.shape == (3, 5, 3, 32, 32)
    corner = batch.siblings[..., 0, 0]
    assert torch.allclose(corner, batch.images[:3, None, :, 0, 0].expand_as(corner), atol=1e-5)
    classes = [NAMES.index(name) for name in batch.names[:3]]
    for index, word in zip(classes, batch.views[:3], strict=True):
        for shard, view in store.words[index][word]:
            assert view_word(*store.cameras[shard][index, view, 3:].tolist()) == word


def test_stored_views_are_the_rendered_ones():
    cameras = random_cameras(2, 64, torch.Generator().manual_seed(0))
    surface = render_surface("car", cameras, 48)
    stored = unpack(pack(surface), cameras.position, 16)
    coverage = surface.mask.float().view(2, 16, 4, 16, 4).mean((2, 4))
    assert (stored.coverage[..., 0] - coverage).abs().max() < 0.01
    solid = coverage == 1
    mean = surface.position.view(2, 16, 4, 16, 4, 3).mean((2, 4))
    assert (stored.position - mean)[solid].abs().max() < 0.01
    color = torch.tensor([[0.1, 0.2, 0.9]]).expand(2, 3)
    albedo = surface.albedo((0.1, 0.2, 0.9)).view(2, 16, 4, 16, 4, 3).mean((2, 4))
    around = draw_surroundings(color, torch.tensor([UNLIT, UNLIT]), 16, torch.Generator().manual_seed(0))
    picture = compose(stored, around)
    assert (picture - albedo)[solid].abs().max() < 0.02


def test_the_tokenizer_knows_its_words_and_survives_a_round_trip(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = build_tokenizer(start=False)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    texts = ["A DSLR photo of a blue ice-cream cone, side view", "", "a shiny car"]
    for one in (tokenizer, loaded):
        ids, mask = tokenize(one, texts)
        assert ids.shape == (3, LENGTH)
        assert mask.sum(1).tolist() == [12, 1, 4]
        assert ids[2, 1] == one.unk_token_id and one.unk_token_id not in ids[0]
    assert torch.equal(tokenize(tokenizer, texts)[0], tokenize(loaded, texts)[0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_kernels_as_the_matrices_they_are(layout):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 32, 3), torch.nn.Conv2d(32, 40, 3), torch.nn.Embedding(5, 40))
    network = network.to(memory_format=layout)
    optimizer = MatrixOptimizer(network, learning_rate=0.01)
    assert [tuple(flat.shape) for _, flat in optimizer.weights] == [(40, 288)]
    kernel = network[1].weight
    before = kernel.detach().clone()
    gradient = torch.randn(40, 32, 3, 3)
    twin = torch.nn.Parameter(before.flatten(1).clone())
    twin.grad = gradient.flatten(1).clone()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    kernel.grad = gradient.clone()
    optimizer.step()
    torch.optim.Muon([twin], lr=0.01, weight_decay=0.01, adjust_lr_fn="match_rms_adamw").step()
    assert torch.allclose(kernel.detach().flatten(1), twin.detach(), atol=1e-4)
    # an orthogonal step: as large in every direction, up to the coarseness of the iteration
    singular = torch.linalg.svdvals((before - kernel.detach()).flatten(1))
    assert singular.max() / singular.min() < 2
    optimizer.zero_grad()
    assert kernel.grad is None
