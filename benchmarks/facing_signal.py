"""How well a pixel prior tells front from back: its error on true pictures under the right word and under the other one.

    python benchmarks/facing_signal.py [FOLDER]

Views that no prior was trained on, rendered on the first call into `.training/test-views`: of each class whose sides differ 24 of
the front and 24 of the back, unlit, in trained colours. Per class: the share of pictures with a smaller error under the right
word, summed over the timesteps, and the rise of the squared error of v under the wrong word in percent, at each timestep.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.models import BUNDLED
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.machine.process import prepare_process
from threefusion.registry import build
from threefusion.toyworld.captions import describe
from threefusion.toyworld.catalogue import ROUND
from threefusion.toyworld.palette import COLORS
from training.data import NAMES, TRAINING_COLORS, compose, draw_surroundings
from training.measure import TEST_SEED
from training.views import ViewStore, render_shards

COUNT = 24
TIMESTEPS = (600, 700, 800, 900, 950)
WORDS = ("front", "back")


def pictures(store: ViewStore, name: str, colors: list[str], size: int, generator: torch.Generator) -> Float[Tensor, "B 3 h w"]:
    """`COUNT` of the front, then as many of the back, in [-1, 1]."""
    images = []
    for word in WORDS:
        views = store.siblings([NAMES.index(name)], [word], COUNT, size, generator)
        unlit = torch.zeros(COUNT, dtype=torch.long)
        around = draw_surroundings(torch.tensor([COLORS[color] for color in colors]), unlit, size, generator)
        images.append(compose(views, around))
    return (torch.cat(images) * 2 - 1).permute(0, 3, 1, 2)


@torch.no_grad()
def errors(prior: DiffusionPrior, clean: Tensor, captions: list[str], seed: int) -> Float[Tensor, "T B"]:
    """Squared error of v, summed over a picture, at each timestep."""
    generator = torch.Generator().manual_seed(seed)
    condition = prior.text_encoder().encode(captions)
    found = []
    for timestep in TIMESTEPS:
        t = torch.full((len(clean),), timestep / 1000)
        noise = torch.randn(clean.shape, generator=generator)
        predicted = prior.predict(prior.schedule.add_noise(clean, noise, t), t, condition)
        # at the same noisy picture the error of v is that of the noise over alpha
        found.append((predicted.noise - noise).square().flatten(1).sum(1) / predicted.alpha[0].item() ** 2)
    return torch.stack(found)


def main() -> None:
    """Print a line per class and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=BUNDLED / "toyworld-pixel")
    parser.add_argument("--state", type=Path, default=Path(".training"))
    arguments = parser.parse_args()
    prepare_process()
    prior = build(PixelConfig(model=str(arguments.folder)))
    render_shards(arguments.state / "test-views", 2, TEST_SEED)
    store, rises = ViewStore(arguments.state / "test-views"), []
    for name in (name for name in NAMES if name not in ROUND):
        colors = [TRAINING_COLORS[name][i % len(TRAINING_COLORS[name])] for i in range(COUNT)]
        clean = pictures(store, name, colors, prior.shape[-1], torch.Generator().manual_seed(3))
        right, wrong = (
            errors(prior, clean, [describe(name, color, word) for word in words for color in colors], seed=4)
            for words in (WORDS, WORDS[::-1])
        )
        rises.append((wrong.sum(1) / right.sum(1) - 1) * 100)
        share = (wrong.sum(0) > right.sum(0)).float().mean()
        print(f"{name:22s} {share:5.2f} ", *(f"{rise:6.2f}" for rise in rises[-1].tolist()), flush=True)
    print(f"{'mean':22s}       ", *(f"{rise:6.2f}" for rise in torch.stack(rises).mean(0).tolist()))


if __name__ == "__main__":
    main()
