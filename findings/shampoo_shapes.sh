#!/usr/bin/env bash
# Matrices under ScalableShampoo (Distributed Shampoo) in pytorch_optimizer 4.1.0, with its default shape_interpretation=True.
# Expected: a matrix of 14 x 10 is preconditioned from its two sides with roots of order 4 (2 per side), whatever the block size,
# and so is a matrix of 8 x 8.
# Seen: a matrix whose first side is longer than the block gets a third side of 1 in front, whose statistic scales each block by a
# factor of its own, and roots of order 6. A matrix with no more elements than the block size is joined into a vector, and vectors are
# not preconditioned at all (skip_preconditioning_rank_lt=1 notwithstanding). With shape_interpretation=False both are as expected.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0 pytorch_optimizer==4.1.0
"$work/venv/bin/python" - <<'PYTHON'
import torch
from pytorch_optimizer import ScalableShampoo


def seen(shape, block_size, interpret):
    parameter = torch.nn.Parameter(torch.randn(shape))
    optimizer = ScalableShampoo([parameter], block_size=block_size, shape_interpretation=interpret)
    parameter.grad = torch.randn(shape)
    optimizer.step()
    state = optimizer.state[parameter]["pre_conditioner"]
    return list(state.transformed_shape), state.exponent_for_pre_conditioner, len(state.statistics)


cases = {
    "14 x 10, blocks of 16": ((14, 10), 16, True, ([14, 10], 4, 2)),
    "14 x 10, blocks of 8": ((14, 10), 8, True, ([1, 14, 10], 6, 12)),
    "14 x 10, blocks of 8, as it is": ((14, 10), 8, False, ([14, 10], 4, 8)),
    "8 x 8, blocks of 64": ((8, 8), 64, True, ([1], 2, 0)),
    "8 x 8, blocks of 64, as it is": ((8, 8), 64, False, ([8, 8], 4, 2)),
}
for name, (shape, block_size, interpret, expected) in cases.items():
    found = seen(shape, block_size, interpret)
    print(f"{name}: shape {found[0]}, root of order {found[1]}, {found[2]} statistics")
    assert found == expected, f"behaviour has changed: {name}: {found}"
PYTHON
