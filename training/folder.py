"""Bundled prior folders: a diffusers pipeline and `toyworld.json` with its vocabulary."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.machine.checksums import write_sums
from threefusion.toyworld.captions import COLOR_WORDS, NOUNS
from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.palette import COLORS
from training.captions import HELD_OUT, VIEW_WORDS, known_words

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FACTS = "toyworld.json"


def facts(image_size: int) -> dict[str, object]:
    """Vocabulary and held-out pairs of a prior."""
    return {
        "image_size": image_size,
        "classes": list(CLASSES),
        "colors": list(COLORS),
        "views": list(VIEW_WORDS),
        "object_words": NOUNS,
        "color_words": COLOR_WORDS,
        "known_words": known_words(),
        "held_out": list(HELD_OUT),
    }


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A temporary folder that atomically replaces the old one; the model card is kept."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    yield fresh
    card = folder / "README.md"
    if card.exists():
        shutil.copy(card, fresh / "README.md")
    write_sums(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def save_pipeline(pipeline: DiffusionPipeline, folder: Path, image_size: int) -> None:
    """Write a pipeline and its facts."""
    with replaced(folder) as fresh:
        pipeline.save_pretrained(fresh, safe_serialization=True)
        if pipeline.text_encoder.config.model_type == "clip_text_model":
            add_prefix(fresh / "text_encoder" / "model.safetensors")
        (fresh / FACTS).write_text(json.dumps(facts(image_size), indent=1) + "\n")


def add_prefix(file: Path, prefix: str = "text_model.") -> None:
    """Name a CLIP text encoder's weights as every transformers reads them: 5.6 and later save them without the prefix."""
    from safetensors.torch import load_file, save_file

    weights = {prefix + name.removeprefix(prefix): weight for name, weight in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
