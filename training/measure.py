"""Accuracy of a bundled prior: a small classifier of class, colour and view evaluates its samples."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.toyworld.captions import describe
from threefusion.toyworld.catalogue import CLASSES, ROUND
from threefusion.toyworld.palette import COLORS
from training.augment import augment
from training.captions import HELD_OUT, VIEW_WORDS, held_out
from training.data import NAMES, TEXTURELESS, Batch
from training.pictures import Pictures, draw_pictures, surely_seen
from training.sample import Sampler
from training.train import Plan, Recipe, Trainer
from training.views import ViewStore, render_shards

SIZE = 32
TASKS = {"class": NAMES, "color": list(COLORS), "view": list(VIEW_WORDS)}
TEST_SEED = 900
"""First seed of views that no network is trained on."""
Wanted = tuple[str, str, str]
"""Class, colour and view."""


class Residual(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(width, width), *_convolution(width, width))

    def forward(self, values: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Input plus residual."""
        return values + self.body(values)


class Classifier(nn.Module):
    """Classifier of class, colour and view for 32 x 32 images."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(3, widths[0])]
        for before, after in pairwise(widths):
            layers += [*_convolution(before, after, 2), Residual(after)]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * widths[-1], 256), nn.SiLU())
        self.heads = nn.ModuleDict({task: nn.Linear(256, len(values)) for task, values in TASKS.items()})

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> dict[str, Float[Tensor, "B K"]]:
        """Logits of each task for images in [-1, 1]."""
        with torch.autocast("cpu", torch.bfloat16):
            body = self.body(images.contiguous(memory_format=torch.channels_last)).float()
        return {task: head(body) for task, head in self.heads.items()}


def _convolution(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, normalisation and activation."""
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.GroupNorm(8, after), nn.SiLU()]


class ClassifierRecipe(Recipe):
    """Training of the classifier on renderings of all pairs, including held-out ones, because it is the evaluator."""

    image_size = SIZE

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128, 192), batch_size: int = 64, learning_rate: float = 2e-3) -> None:
        torch.manual_seed(11)
        self.batch_size, self.learning_rate = batch_size, learning_rate
        network = Classifier(widths).to(memory_format=torch.channels_last)
        self.networks = nn.ModuleDict({"classifier": network})

    def draw(self, store: ViewStore, generator: torch.Generator) -> Batch:
        """Half of the images are augmented, for robustness to artefacts of samples."""
        seen = augment(draw_pictures(store, self.batch_size, SIZE, generator), generator)
        return Batch(seen.images * 2 - 1, [], seen.names, seen.colors, seen.views, seen.looks)

    def loss(self, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Sum of the cross-entropies."""
        logits = self.networks["classifier"](batch.images)
        said = {"class": batch.names, "color": batch.colors, "view": batch.views}
        labels = {task: torch.tensor([TASKS[task].index(word) for word in said[task]]) for task in TASKS}
        # textureless images have no colour label, round objects no view label
        labels["color"] = labels["color"].masked_fill(torch.tensor(batch.looks) == TEXTURELESS, -100)
        labels["view"] = labels["view"].masked_fill(torch.tensor([name in ROUND for name in batch.names]), -100)
        return torch.stack([nn.functional.cross_entropy(logits[task], labels[task]) for task in TASKS]).sum()

    def export(self, networks: nn.ModuleDict, folder: Path) -> None:
        """Write the weights; they are not bundled."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(networks["classifier"].state_dict(), folder / "classifier.pt")


def train_classifier(state: Path, steps: int = 2400) -> Classifier:
    """The classifier, trained on the priors' views; resumes an earlier call."""
    plan = Plan(steps=steps, warm_up=100, cool_down=0.6, seed=11)
    trainer = Trainer(ClassifierRecipe(), ViewStore(state / "views"), state / "classifier", plan)
    trainer.run()
    return trainer.average["classifier"]


def fresh_pictures(state: Path, count: int, size: int, looks: tuple[float, ...]) -> Pictures:
    """Images of unseen views."""
    render_shards(state / "test-views", 2, TEST_SEED)
    return draw_pictures(ViewStore(state / "test-views"), count, size, torch.Generator().manual_seed(5), looks)


def prompts(seen: bool, count: int, generator: torch.Generator) -> list[Wanted]:
    """Random (class, colour, view) triples of trained or of held-out pairs."""
    pairs = [(n, c) for n in CLASSES for c in COLORS if held_out(n, c) != seen]
    chosen = torch.randint(len(pairs), (count,), generator=generator).tolist()
    views = torch.randint(len(VIEW_WORDS), (count,), generator=generator).tolist()
    return [(*pairs[p], VIEW_WORDS[v]) for p, v in zip(chosen, views, strict=True)]


@torch.no_grad()
def accuracy(network: nn.Module, images: Float[Tensor, "B 3 h w"], wanted: list[Wanted]) -> dict[str, float]:
    """Share of images that match their captions according to the classifier; the view only for classes whose sides differ."""
    logits = [network(part) for part in images.split(250)]
    right = {}
    for column, task in enumerate(TASKS):
        found = torch.cat([part[task] for part in logits]).argmax(-1).tolist()
        asked = [i for i, want in enumerate(wanted) if task != "view" or want[0] not in ROUND]
        right[task] = share([TASKS[task][found[i]] == wanted[i][column] for i in asked])
    return right


def share(hits: list[bool]) -> float:
    """Accuracy."""
    return round(sum(hits) / max(1, len(hits)), 4)


def measure(folder: Path, state: Path, count: int = 500, scale: float = 3.0) -> dict[str, dict[str, float]]:
    """Accuracies on unseen renderings (the classifier's own) and on samples of seen and of held-out pairs."""
    network = train_classifier(state)
    fresh = fresh_pictures(state, 2000, SIZE, (0.5, 0.5, 0.0))
    sure = [i for i, angle in enumerate(fresh.angles) if surely_seen(*angle)]
    wanted = [(fresh.names[i], fresh.colors[i], fresh.views[i]) for i in sure]
    result = {"renders": accuracy(network, fresh.images[sure] * 2 - 1, wanted)}
    sampler, generator = Sampler(folder), torch.Generator().manual_seed(5)
    for label, seen in (("seen pairs", True), ("held-out pairs", False)):
        wanted = prompts(seen, count, generator)
        images = torch.cat([draw(sampler, wanted[i : i + 50], scale, i) for i in range(0, count, 50)])
        result[label] = accuracy(network, images, wanted)
    return result | {"counts": {"samples": float(count), "held_out": float(len(HELD_OUT)), "guidance_scale": scale}}


def draw(sampler: Sampler, wanted: list[Wanted], scale: float, seed: int) -> Float[Tensor, "B 3 h w"]:
    """Samples in [-1, 1] at the classifier's size."""
    images = sampler.draw([describe(name, color, view) for name, color, view in wanted], scale, seed=seed)
    images = images.permute(0, 3, 1, 2) * 2 - 1
    return nn.functional.avg_pool2d(images, images.shape[-1] // SIZE)
