"""What the evaluation must say about results that are known beforehand.

    python benchmarks/evaluation_identities.py

A truth against itself, a bunny with two faces, and nothing at all; by the exact classifier of fronts, and by the bundled judge
where there is one. Exits with 1 if one of them comes out wrong.
"""

from __future__ import annotations

import sys

from threefusion.evaluate import Evaluation, evaluate_mesh
from threefusion.evaluate.evaluate import choose_judge
from threefusion.evaluate.janus import FrontClassifier, TruthFrontClassifier
from threefusion.evaluate.specimens import truth_mesh, two_faced
from threefusion.evaluate.text_image import JudgeFrontClassifier
from threefusion.toyworld.captions import find_object

PROMPT = "an orange bunny"


def identities(classifier: FrontClassifier) -> dict[str, tuple[float | None, bool]]:
    """What was found, and whether it is as it must be."""
    evaluation = Evaluation(front=classifier)
    mesh = truth_mesh(find_object(PROMPT))
    itself = evaluate_mesh(mesh, PROMPT, evaluation)
    double = evaluate_mesh(two_faced(mesh), PROMPT, evaluation)
    nothing = evaluate_mesh(None, PROMPT, evaluation)
    iou, one_face, two_faces = itself["truth"]["volume_iou"], itself["pathology"]["janus"], double["pathology"]["janus"]
    empty = nothing["pathology"]["emptiness"]
    return {
        "volume IoU of a truth with itself, at least 0.99": (iou, iou >= 0.99),
        "Janus index of a truth, 0": (one_face, one_face == 0),
        "Janus index of a bunny with two faces, 1": (two_faces, two_faces == 1),
        "emptiness of nothing, 1": (empty, empty == 1),
    }


def main() -> None:
    """Print the identities under each classifier."""
    judge = choose_judge(None)
    classifiers = {"exact": TruthFrontClassifier()} | ({"judge": JudgeFrontClassifier(judge)} if judge else {})
    right = True
    for name, classifier in classifiers.items():
        for what, (value, holds) in identities(classifier).items():
            print(f"{name:<6} {'ok   ' if holds else 'WRONG'} {value}  {what}")
            right &= holds
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
