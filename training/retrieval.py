"""Accuracy of the judge: retrieval of captions for unseen exact renderings."""

from __future__ import annotations

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from threefusion.evaluate.specimens import truth_mesh
from threefusion.evaluate.text_image import Judge
from threefusion.evaluate.views import shaded_views
from threefusion.toyworld.captions import describe, pair_captions
from threefusion.toyworld.catalogue import ROUND
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from training.captions import VIEW_WORDS
from training.data import LIT, NAMES, TEXTURELESS, UNLIT
from training.judge import SIZE
from training.measure import fresh_pictures, share
from training.pictures import COLOR_NAMES, Pictures, surely_seen

PAIRS = [(name, color) for name in NAMES for color in COLOR_NAMES]


def nearest(images: Float[Tensor, "B D"], texts: Float[Tensor, "K D"]) -> list[int]:
    """Index of the most similar caption for each image; rows are normalised."""
    return (images @ texts.T).argmax(-1).tolist()


def seen(judge: Judge, drawn: Pictures) -> Float[Tensor, "B D"]:
    """Normalised embeddings of images."""
    return judge.embed_images(drawn.images.permute(0, 2, 3, 1))


def pair_scores(judge: Judge, drawn: Pictures) -> dict[str, float]:
    """Share of images whose nearest caption among all pairs is correct, and correct in class or colour alone."""
    found = [PAIRS[k] for k in nearest(seen(judge, drawn), judge.embed_texts(pair_captions()))]
    truth = list(zip(drawn.names, drawn.colors, strict=True))
    both = list(zip(found, truth, strict=True))
    return {
        "caption": share([a == b for a, b in both]),
        "class": share([a[0] == b[0] for a, b in both]),
        "color": share([a[1] == b[1] for a, b in both]),
    }


def class_score(judge: Judge, drawn: Pictures) -> float:
    """The same for captions without colour."""
    found = nearest(seen(judge, drawn), judge.embed_texts([describe(name) for name in NAMES]))
    return share([NAMES[k] == name for k, name in zip(found, drawn.names, strict=True)])


def view_score(judge: Judge, drawn: Pictures, colored: bool) -> float:
    """Share of images whose view caption is correct among the four of its object, for classes whose sides differ."""
    embedding = seen(judge, drawn)
    hits = []
    for i, (name, angle) in enumerate(zip(drawn.names, drawn.angles, strict=True)):
        if name in ROUND or not surely_seen(*angle):
            continue
        texts = judge.embed_texts([describe(name, drawn.colors[i] if colored else None, view) for view in VIEW_WORDS])
        hits.append(VIEW_WORDS[nearest(embedding[i : i + 1], texts)[0]] == drawn.views[i])
    return share(hits)


def truth_scores(judge: Judge, views: int = 6) -> dict[str, float]:
    """Retrieval on evaluation views of the ground-truth mesh of every pair.

    `caption`: share of coloured pictures whose nearest caption is the right one; `class`: the same for white ones among captions
    without a colour; `objects`: share of pairs whose pictures, taken together, are nearest to the right caption.
    """
    cameras = scoring_cameras(judge.size, views)
    pairs, names = judge.embed_texts(pair_captions()), judge.embed_texts([describe(name) for name in NAMES])
    captions, classes, objects = [], [], []
    for right, (name, color) in enumerate(PAIRS):
        colored, white = (judge.embed_images(images) for images in shaded_views(truth_mesh(ToyObject(name, color)), cameras))
        captions += [found == right for found in nearest(colored, pairs)]
        classes += [NAMES[found] == name for found in nearest(white, names)]
        objects += [nearest(colored.mean(0, keepdim=True), pairs)[0] == right]
    return {"caption": share(captions), "class": share(classes), "objects": share(objects)}


def measure_judge(folder: Path, state: Path, count: int = 2000) -> dict[str, dict[str, float]]:
    """Retrieval on evaluation views of the ground truth, and on unseen renderings: albedo, lit, textureless."""
    judge = Judge(folder)
    result = {"truth": truth_scores(judge)}
    for label, look in (("unlit", UNLIT), ("lit", LIT), ("textureless", TEXTURELESS)):
        drawn = fresh_pictures(state, count, SIZE, tuple(float(look == other) for other in (UNLIT, LIT, TEXTURELESS)))
        plain = look == TEXTURELESS
        scores = pair_scores(judge, drawn)
        if plain:
            scores = {"class": scores["class"], "class_without_colors": class_score(judge, drawn)}
        result[label] = scores | {"view": view_score(judge, drawn, not plain)}
    return result | {"counts": {"pictures": float(count), "captions": float(len(PAIRS))}}
