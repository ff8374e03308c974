"""Summaries over seeds, and formatting of values."""

import pytest

from threefusion.evaluate.keys import NO_SHAPE, SECTIONS
from threefusion.evaluate.report import format_report, format_value, summaries
from threefusion.page.scores import MEASURED, numbers


def result(seed, **values):
    return {"run": {"config": "c", "prompt": "p", "seed": seed}, **{section: {} for section in MEASURED}, "truth": values}


def test_only_finite_numbers_count():
    found = numbers(result(0, skill=0.5, convex=True, best_class="car", chamfer=None, psnr=float("inf")))
    assert found == {"truth.skill": 0.5, "truth.convex": 1.0}


def test_seeds_of_one_config_are_summarised():
    runs = [("a", result(0, skill=1.0)), ("b", result(0, skill=9.0)), ("a", result(1, skill=2.0)), ("a", result(2, skill=None))]
    (summary,) = summaries(runs)
    assert summary["seeds"] == [0, 1, 2]
    assert summary["values"] == {"truth.skill": {"mean": 1.5, "std": pytest.approx(0.5**0.5), "n": 2}}


def test_the_same_seed_twice_has_no_spread():
    assert summaries([("a", result(0, skill=1.0)), ("a", result(0, skill=1.0))]) == []


def test_a_report_ends_with_the_runs_of_which_another_class_came_out():
    truth = dict.fromkeys(SECTIONS["truth"]) | {"silhouette_iou": 0.4}
    results = []
    for folder, right, best in (("a", True, "car"), ("b", False, "boat"), ("c", None, None)):
        about = {"folder": folder, "prompt": "p", "config": "c", "seed": 0, "views": 4}
        sections = {section: dict.fromkeys(keys) for section, keys in SECTIONS.items()}
        sections["truth"] = truth | {"geometric_retrieval": right, "best_class": best}
        results.append({"run": about, **sections, "notes": {}})
    assert format_report(results, []).splitlines()[-1].startswith("b: the mesh looks like a boat")
    assert "looks like" not in format_report(results[:1], []) + format_report(results[2:], [])
    results[1]["notes"] = {"fidelity": NO_SHAPE}  # pictures are no wrong object
    assert "looks like" not in format_report(results, [])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (0.12345, "0.123"),
        (12.3456, "12.35"),
        (1e9, "1000000000"),
        (7, "7"),
        ("a", "a"),
    ],
)
def test_values_are_formatted(value, text):
    assert format_value(value) == text
