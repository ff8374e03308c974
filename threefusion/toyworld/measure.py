"""How well a bundled prior does what its captions say: a small classifier of class, colour and view looks at its samples."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.toyworld.captions import HELD_OUT, VIEW_WORDS, held_out
from threefusion.toyworld.catalogue import CLASSES, ROUND, colored
from threefusion.toyworld.data import NAMES, draw_batch
from threefusion.toyworld.palette import COLORS
from threefusion.toyworld.sample import Sampler
from threefusion.toyworld.views import ViewStore

SIZE = 32
TASKS = {"class": NAMES, "color": list(COLORS), "view": list(VIEW_WORDS)}


@dataclass(frozen=True)
class Labelled:
    """Pictures and the captions' meaning as indices, one column for each task."""

    images: Float[Tensor, "B 3 h w"]
    labels: dict[str, Tensor]


class Classifier(nn.Module):
    """Three answers about a picture of 32 x 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(8, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 128, 256), nn.SiLU())
        self.heads = nn.ModuleDict({task: nn.Linear(256, len(values)) for task, values in TASKS.items()})

    def forward(self, images: Float[Tensor, "B 3 h w"]) -> dict[str, Float[Tensor, "B K"]]:
        """Logits of each task."""
        body = self.body(images)
        return {task: head(body) for task, head in self.heads.items()}


def labelled_batch(store: ViewStore, count: int, generator: torch.Generator) -> Labelled:
    """Training pictures of all pairs, the held-out ones too: this network judges, it is not judged."""
    batch = draw_batch(store, count, SIZE, generator, every_pair=True)
    said = {"class": batch.names, "color": batch.colors, "view": batch.views}
    labels = {task: torch.tensor([TASKS[task].index(word) for word in said[task]]) for task in TASKS}
    # a white object in the light says nothing about its caption's colour
    labels["color"] = torch.where(torch.tensor(batch.looks) == 2, -100, labels["color"])
    return Labelled(batch.images, labels)


def train_classifier(store: ViewStore, path: Path, steps: int = 900, count: int = 64) -> Classifier:
    """The classifier, trained on fresh renders and kept at `path`."""
    torch.manual_seed(0)
    network = Classifier()
    if path.exists():
        network.load_state_dict(torch.load(path, weights_only=True))
        return network.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    generator = torch.Generator().manual_seed(11)
    for _ in range(steps):
        batch = labelled_batch(store, count, generator)
        logits = network(batch.images)
        loss = sum(nn.functional.cross_entropy(logits[task], batch.labels[task]) for task in TASKS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    temporary = path.with_suffix(".tmp")
    torch.save(network.state_dict(), temporary)
    os.replace(temporary, path)
    return network.eval()


def prompts(seen: bool, count: int, generator: torch.Generator) -> list[tuple[str, str, str]]:
    """Random (class, colour, view) triples of trained or of held-out pairs; views only where a class has different sides."""
    pairs = [(n, c) for n in CLASSES for c in COLORS if held_out(n, c) != seen]
    chosen = torch.randint(len(pairs), (count,), generator=generator).tolist()
    views = torch.randint(len(VIEW_WORDS), (count,), generator=generator).tolist()
    return [(*pairs[p], VIEW_WORDS[v]) for p, v in zip(chosen, views, strict=True)]


@torch.no_grad()
def accuracy(network: Classifier, images: Float[Tensor, "B 3 h w"], wanted: list[tuple[str, str, str]]) -> dict[str, float]:
    """Share of pictures in which the classifier finds what was asked for."""
    found = {task: logits.argmax(-1).tolist() for task, logits in network(images).items()}
    right = {
        task: [TASKS[task][found[task][i]] == want[column] for i, want in enumerate(wanted)]
        for column, task in enumerate(("class", "color", "view"))
    }
    sided = [i for i, want in enumerate(wanted) if want[0] not in ROUND]
    right["view"] = [right["view"][i] for i in sided]
    return {task: sum(hits) / max(1, len(hits)) for task, hits in right.items()}


def measure(folder: Path, state: Path, count: int = 240, scale: float = 3.0) -> dict[str, dict[str, float]]:
    """Accuracies on fresh renders (what the classifier itself can do) and on samples of seen and of held-out pairs."""
    store = ViewStore(state / "views")
    network = train_classifier(store, state / "classifier.pt")
    generator = torch.Generator().manual_seed(5)
    fresh = labelled_batch(store, 500, generator)
    keep = fresh.labels["color"] >= 0
    wanted = [tuple(TASKS[t][fresh.labels[t][i]] for t in TASKS) for i in keep.nonzero()[:, 0].tolist()]
    result = {"renders": accuracy(network, fresh.images[keep], wanted)}
    sampler = Sampler(folder)
    for label, seen in (("seen pairs", True), ("held-out pairs", False)):
        wanted = prompts(seen, count, generator)
        images = torch.cat([draw(sampler, wanted[i : i + 60], scale, i) for i in range(0, count, 60)])
        result[label] = accuracy(network, images, wanted)
    return result | {"counts": {"samples": float(count), "held_out": float(len(HELD_OUT)), "guidance_scale": scale}}


def draw(sampler: Sampler, wanted: list[tuple[str, str, str]], scale: float, seed: int) -> Float[Tensor, "B 3 h w"]:
    """Samples in [-1, 1] at the classifier's size."""
    images = sampler.draw([f"a {colored(name, color)}, {view} view" for name, color, view in wanted], scale, seed=seed)
    images = images.permute(0, 3, 1, 2) * 2 - 1
    return nn.functional.avg_pool2d(images, images.shape[-1] // SIZE)
