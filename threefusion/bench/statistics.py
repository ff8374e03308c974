"""Confidence intervals of means, and paired tests between variants. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from threefusion.bench.table import COST, Row, Table

EXACT_UP_TO = 40
"""Cells up to which all sign flips are counted."""
DRAWS = 100_000
"""Random sign flips for more cells than that."""


@dataclass(frozen=True)
class Estimate:
    """A mean over cells."""

    mean: float
    half_width: float | None
    """Of the 95 % interval; None where no prompt has two seeds."""
    count: int
    """Cells that it is made of."""


@dataclass(frozen=True)
class Comparison:
    """Two variants in one column, over the cells that both have."""

    column: str
    first: str
    second: str
    count: int
    """Shared (prompt, seed) cells."""
    difference: float
    """Mean of first minus second."""
    p: float
    """Two-sided, for this comparison alone."""
    p_holm: float
    """Corrected for all comparisons of the table."""


def estimate(groups: Iterable[Sequence[float]]) -> Estimate | None:
    """The mean of the groups' means and its 95 % interval by Student's t; a group holds the seeds of one prompt.

    The prompts are fixed and the seeds are drawn. With P groups of n_p values, N in all, and one variance for all groups,
    s² = Σ (y - mean of its group)² / (N - P), the half width is t(0.975, N - P) · s · sqrt(Σ 1/n_p) / P. For a single prompt
    this is the textbook interval of a mean.
    """
    groups = [group for group in groups if group]
    if not groups:
        return None
    means = [sum(group) / len(group) for group in groups]
    count = sum(map(len, groups))
    freedom = count - len(groups)
    squares = sum((value - mean) ** 2 for group, mean in zip(groups, means, strict=True) for value in group)
    half_width = None
    if freedom:
        error = sqrt(squares / freedom * sum(1 / len(group) for group in groups)) / len(groups)
        half_width = float(stdtrit(freedom, 0.975)) * error
    return Estimate(sum(means) / len(means), half_width, count)


def by_prompt(rows: Iterable[Row], column: str) -> list[list[float]]:
    """The values of a column, grouped by prompt."""
    groups: dict[str, list[float]] = {}
    for row in rows:
        if column in row.numbers:
            groups.setdefault(row.prompt, []).append(row.numbers[column])
    return list(groups.values())


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of an exact paired permutation test: the share of sign flips whose sum is as far from 0 as the one seen.

    Under the null hypothesis the two variants are exchangeable in each cell, so each difference could as well have had the other
    sign (Fisher, The Design of Experiments, 1935, section 21). All 2^n flips are counted up to 40 cells, by halves; beyond that
    100,000 random ones stand for them, the one seen included.
    """
    values = np.asarray(differences, dtype=float)
    # Sums of the same numbers in another order differ by rounding, and ties have to count.
    seen = abs(values.sum()) - 1e-9 * np.abs(values).sum()
    if len(values) > EXACT_UP_TO:
        signs = np.random.default_rng(0).integers(0, 2, (DRAWS, len(values)), dtype=np.int8) * 2 - 1
        return float((np.abs(signs @ values) >= seen).sum() + 1) / (DRAWS + 1)
    left, right = _signed_sums(values[: len(values) // 2]), np.sort(_signed_sums(values[len(values) // 2 :]))
    above = len(right) - np.searchsorted(right, seen - left, side="left")
    below = np.searchsorted(right, -seen - left, side="right")
    # A sum can be counted on both sides only if the one seen is 0, and then every one counts.
    return min(1.0, float((above + below).sum()) / 2.0 ** len(values))


def _signed_sums(values: Float[np.ndarray, "n"]) -> Float[np.ndarray, "two_to_the_n"]:
    """The sums of `values` with all combinations of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number so that the chance of a single false alarm stays below the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def compare(table: Table, variants: Sequence[str], columns: Sequence[str], baseline: str | None) -> list[Comparison]:
    """Every pair of variants, or each with the baseline, in every column but the costs, over their shared cells."""
    pairs = [(name, baseline) for name in variants if name != baseline] if baseline else list(combinations(variants, 2))
    comparisons = []
    for column in columns:
        if column.startswith(COST):
            continue
        for first, second in pairs:
            ours, theirs = (
                {row.key: row.numbers[column] for row in table.of(name) if column in row.numbers} for name in (first, second)
            )
            differences = [value - theirs[key] for key, value in ours.items() if key in theirs]
            if differences:
                p = sign_flip_p(differences)
                comparisons.append(Comparison(column, first, second, len(differences), sum(differences) / len(differences), p, p))
    corrected = holm([comparison.p for comparison in comparisons])
    return [replace(comparison, p_holm=p) for comparison, p in zip(comparisons, corrected, strict=True)]
