"""The rates of gathers and updates that a compiled loop reaches; a torch call per gather would measure its own overhead."""

from __future__ import annotations

from typing import no_type_check

from threefusion.ops.numba_kernels.compile import compiled


@compiled
@no_type_check
def gather(part, parts, table, index, rounds, out):
    """Read 8-byte rows of a table at random. Their bits are mixed so that no read can be left out."""
    mixed = table[0]
    for _ in range(rounds * part // parts, rounds * (part + 1) // parts):
        for row in index:
            mixed ^= table[row]
    out[part] = mixed


@compiled
@no_type_check
def update(part, parts, tables, index, rounds):
    """Add to rows of two numbers at random; each thread has a table of its own, as each has levels of its own in a scatter."""
    table = tables[part]
    for _ in range(rounds * part // parts, rounds * (part + 1) // parts):
        for row in index:
            table[row, 0] += 1
            table[row, 1] += 1
