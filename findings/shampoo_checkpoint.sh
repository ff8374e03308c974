#!/usr/bin/env bash
# The state_dict of ScalableShampoo (Distributed Shampoo) in pytorch_optimizer 4.1.0, saved and loaded with torch 2.13.0.
# Expected: torch.save(optimizer.state_dict()) is read back by torch.load with its defaults, as for every optimiser of torch, and a step
# is a function of the gradients, so that it leaves torch's global random numbers as they were.
# Seen: the state holds objects of the library's classes, which torch.load refuses (weights_only=True is the default since torch 2.6);
# and each step draws global random numbers (start vectors of its power iterations).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0 pytorch_optimizer==4.1.0
"$work/venv/bin/python" - <<'PYTHON'
import io
from pickle import UnpicklingError

import torch
from pytorch_optimizer import ScalableShampoo

parameter = torch.nn.Parameter(torch.randn(32, 32))
optimizer = ScalableShampoo([parameter], block_size=32, preconditioning_compute_steps=1)
parameter.grad = torch.randn(32, 32)
before = torch.get_rng_state()
optimizer.step()
unmoved = torch.equal(before, torch.get_rng_state())
saved = io.BytesIO()
torch.save(optimizer.state_dict(), saved)
saved.seek(0)
try:
    torch.load(saved)
except UnpicklingError as error:
    print("torch.load:", str(error).splitlines()[0][:90])
    assert "pytorch_optimizer" in str(error), f"behaviour has changed: {error}"
else:
    raise SystemExit("behaviour has changed: the state is read back")
print("global random numbers as before:", unmoved)
assert not unmoved, "behaviour has changed"
PYTHON
