#!/usr/bin/env bash
# A network compiled by openvino 2026.4.1 in float32 ("INFERENCE_PRECISION_HINT": "f32"), exported as a blob and imported again, on a
# processor with bfloat16 instructions.
# Expected: the imported network computes in float32, as the one that was exported, because a blob is compiled already.
# Seen: it computes in bfloat16 without a message, unless import_model is given the hint again.
set -euo pipefail
if ! grep -qE "avx512_bf16|amx_bf16" /proc/cpuinfo; then
    echo "needs a processor with bfloat16 instructions"
    exit 0
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
"$work/venv/bin/pip" uninstall --quiet --yes openvino-telemetry
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
import openvino
from openvino import opset13 as ops

rng = np.random.default_rng(0)
weight = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
image = rng.standard_normal((1, 64, 16, 16)).astype(np.float32)
x = ops.parameter(image.shape, np.float32)
model = openvino.Model([ops.convolution(x, ops.constant(weight), [1, 1], [1, 1], [1, 1], [1, 1])], [x])
core = openvino.Core()
hint = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = core.compile_model(model, "CPU", hint)
blob = compiled.export_model().getvalue()
expected = compiled([image])[0]


def error(settings):
    """Relative difference of the imported network."""
    return np.linalg.norm(core.import_model(blob, "CPU", settings)([image])[0] - expected) / np.linalg.norm(expected)


without, with_hint = error({}), error(hint)
print(f"imported: {without:.1e} from the exported one; with the hint: {with_hint:.1e}")
assert without > 1e-4 and with_hint < 1e-6, "behaviour has changed"
PYTHON
