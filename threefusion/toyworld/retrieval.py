"""How well the judge knows the truth: captions retrieved for exact renders that it was not trained on."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from threefusion.evaluate.text_image import Judge
from threefusion.toyworld.captions import VIEW_WORDS, describe, pair_captions
from threefusion.toyworld.catalogue import ROUND
from threefusion.toyworld.data import LIT, NAMES, TEXTURELESS, UNLIT
from threefusion.toyworld.judge import SIZE
from threefusion.toyworld.measure import fresh_pictures, share
from threefusion.toyworld.pictures import COLOR_NAMES, Pictures, surely_seen

PAIRS = [(name, color) for name in NAMES for color in COLOR_NAMES]


def nearest(images: Float[Tensor, "B D"], texts: Float[Tensor, "K D"]) -> list[int]:
    """The caption with the highest cosine similarity for each picture; rows are unit vectors."""
    return (images @ texts.T).argmax(-1).tolist()


def seen(judge: Judge, pictures: Pictures) -> Float[Tensor, "B D"]:
    """Unit vectors of pictures."""
    return judge.embed_images(pictures.images.permute(0, 2, 3, 1))


def pair_scores(judge: Judge, pictures: Pictures) -> dict[str, float]:
    """Share of pictures whose nearest caption among all classes and colours is right, and right in class or colour alone."""
    found = [PAIRS[k] for k in nearest(seen(judge, pictures), judge.embed_texts(pair_captions()))]
    truth = list(zip(pictures.names, pictures.colors, strict=True))
    both = list(zip(found, truth, strict=True))
    return {
        "caption": share([a == b for a, b in both]),
        "class": share([a[0] == b[0] for a, b in both]),
        "color": share([a[1] == b[1] for a, b in both]),
    }


def class_score(judge: Judge, pictures: Pictures) -> float:
    """The same among captions without a colour."""
    found = nearest(seen(judge, pictures), judge.embed_texts([describe(name) for name in NAMES]))
    return share([NAMES[k] == name for k, name in zip(found, pictures.names, strict=True)])


def view_score(judge: Judge, pictures: Pictures, colored: bool) -> float:
    """Share of pictures whose view caption is right among the four of its object, where a class has different sides."""
    embedding = seen(judge, pictures)
    hits = []
    for i, (name, angle) in enumerate(zip(pictures.names, pictures.angles, strict=True)):
        if name in ROUND or not surely_seen(*angle):
            continue
        texts = judge.embed_texts([describe(name, pictures.colors[i] if colored else None, view) for view in VIEW_WORDS])
        hits.append(VIEW_WORDS[nearest(embedding[i : i + 1], texts)[0]] == pictures.views[i])
    return share(hits)


def measure_judge(folder: Path, state: Path, count: int = 2000) -> dict[str, dict[str, float]]:
    """Retrieval on fresh renders with bare colours, with light, and white ones with light."""
    judge = Judge(folder)
    result = {}
    for label, look in (("unlit", UNLIT), ("lit", LIT), ("textureless", TEXTURELESS)):
        pictures = fresh_pictures(state, count, SIZE, tuple(float(look == other) for other in (UNLIT, LIT, TEXTURELESS)))
        plain = look == TEXTURELESS
        scores = pair_scores(judge, pictures)
        if plain:
            scores = {"class": scores["class"], "class_without_colors": class_score(judge, pictures)}
        result[label] = scores | {"view": view_score(judge, pictures, not plain)}
    return result | {"counts": {"pictures": float(count), "captions": float(len(PAIRS))}}
