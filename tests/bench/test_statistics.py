"""Intervals and tests against textbook values, brute force and simulations."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from threefusion.bench.statistics import compare, estimate, holm, sign_flip_p
from threefusion.bench.table import Row, Table


def test_one_prompt_has_the_textbook_interval() -> None:
    values = [0.61, 0.72, 0.55, 0.7]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = estimate([values])
    assert (found.mean, found.count) == (pytest.approx(np.mean(values)), 4)
    assert found.half_width == pytest.approx((high - low) / 2)


def test_two_prompts_have_the_interval_of_a_sum_with_pooled_variance() -> None:
    first, second = [0.1, 0.4, 0.2], [0.9, 0.7, 0.8, 0.75]
    twin = stats.ttest_ind(first, [-value for value in second]).confidence_interval(0.95)
    found = estimate([first, second])
    assert found.mean == pytest.approx((twin.low + twin.high) / 4)
    assert found.half_width == pytest.approx((twin.high - twin.low) / 4)


def test_prompts_count_alike_however_many_seeds_they_have() -> None:
    assert estimate([[0.0, 0.0, 0.0], [1.0]]).mean == 0.5


@pytest.mark.parametrize(("groups", "half_width"), [([[0.5]], None), ([[0.5], [0.1]], None), ([[0.5, 0.5]], 0.0)])
def test_without_repetition_there_is_no_interval(groups: list[list[float]], half_width: float | None) -> None:
    assert estimate(groups).half_width == half_width


def test_nothing_measured_is_no_estimate() -> None:
    assert estimate([]) is None
    assert estimate([[]]) is None


def test_the_interval_covers_the_truth_in_95_of_100_benchmarks() -> None:
    generator = np.random.default_rng(1)
    levels = np.array([0.2, 0.5, 0.9])
    runs = levels[:, None] + 0.1 * generator.standard_normal((3000, 3, 2))
    estimates = [estimate(run.tolist()) for run in runs]
    covered = np.mean([abs(found.mean - levels.mean()) <= found.half_width for found in estimates])
    assert covered == pytest.approx(0.95, abs=0.015)


def brute_force(differences: list[float]) -> float:
    sums = [abs(sum(sign * value for sign, value in zip(signs, differences, strict=True))) for signs in
            product((-1, 1), repeat=len(differences))]  # fmt: skip
    return float(np.mean(np.array(sums) >= abs(sum(differences)) - 1e-9))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 11])
def test_the_p_value_is_the_share_of_sign_flips(count: int) -> None:
    generator = np.random.default_rng(count)
    shapes = (generator.standard_normal(count), generator.integers(-2, 3, count) * 1.0, np.full(count, 0.1), np.zeros(count))
    for differences in shapes:
        assert sign_flip_p(differences.tolist()) == pytest.approx(brute_force(differences.tolist()))


def test_the_p_value_is_that_of_scipys_permutation_test() -> None:
    differences = np.random.default_rng(7).standard_normal(12) + 0.5
    samples = (differences, np.zeros(12))
    twin = stats.permutation_test(samples, lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(differences.tolist()) == pytest.approx(twin.pvalue)


def test_many_cells_are_drawn_and_agree_with_the_t_test() -> None:
    differences = np.random.default_rng(3).standard_normal(60) + 0.25
    assert sign_flip_p(differences.tolist()) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.1)


def test_false_alarms_are_as_rare_as_promised() -> None:
    draws = np.random.default_rng(5).standard_normal((2000, 8))
    assert np.mean([sign_flip_p(row.tolist()) <= 0.05 for row in draws]) <= 0.06


def test_holm_is_the_example_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def rows(variant: str, values: dict[tuple[str, int], float | None]) -> list[Row]:
    numbers = {key: {} if value is None else {"truth.iou": value, "cost.seconds": value} for key, value in values.items()}
    return [Row(variant, prompt, seed, "finished", None, numbers[prompt, seed]) for prompt, seed in values]


def test_only_cells_that_both_variants_have_are_compared() -> None:
    table = Table(
        (
            *rows("a", {("x", 0): 0.9, ("x", 1): 0.8, ("y", 0): 0.7, ("y", 1): None}),
            *rows("b", {("x", 0): 0.5, ("x", 1): None, ("y", 0): 0.6, ("y", 1): 0.1}),
            *rows("c", {("x", 0): None, ("x", 1): None, ("y", 0): None, ("y", 1): None}),
        )
    )
    (found,) = compare(table, ["a", "b", "c"], ["truth.iou", "cost.seconds"], None)
    assert (found.first, found.second, found.column, found.count) == ("a", "b", "truth.iou", 2)
    assert found.difference == pytest.approx(0.25)
    assert found.p == found.p_holm == 0.5


def test_a_baseline_halves_the_comparisons_and_the_correction() -> None:
    generator = np.random.default_rng(0)
    cells = [(prompt, seed) for prompt in "vwxyz" for seed in (0, 1)]
    table = Table(
        tuple(row for name, lift in (("a", 0), ("b", 2), ("c", 4)) for row in
              rows(name, {key: float(lift + generator.random()) for key in cells}))
    )  # fmt: skip
    pairs = compare(table, ["a", "b", "c"], ["truth.iou"], None)
    assert [(c.first, c.second) for c in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [c.p_holm for c in pairs] == pytest.approx([3 * 2 / 2**10] * 3)
    to_baseline = compare(table, ["a", "b", "c"], ["truth.iou"], "b")
    assert [(c.first, c.second) for c in to_baseline] == [("a", "b"), ("c", "b")]
    assert [c.p_holm for c in to_baseline] == pytest.approx([2 * 2 / 2**10] * 2)
