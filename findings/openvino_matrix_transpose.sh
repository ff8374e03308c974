#!/usr/bin/env bash
# openvino 2026.4.1 converts a traced torch 2.13.0 module.
# Expected: `x.mT` is `x.transpose(-1, -2)` by torch's own definition, so either both convert or neither does.
# Seen: the transpose converts and computes the same as torch. With `mT` the conversion ends with "No conversion rule found for
# operations: aten::mT", because tracing keeps it as an operation of its own.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 openvino==2026.4.1
"$work/venv/bin/pip" uninstall --quiet --yes openvino-telemetry
"$work/venv/bin/python" - <<'PYTHON' 2>/dev/null
import openvino
import torch


class Product(torch.nn.Module):
    def __init__(self, attribute: bool) -> None:
        super().__init__()
        self.attribute = attribute

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (x.mT if self.attribute else x.transpose(-1, -2))


x = torch.randn(2, 3, 4)
assert torch.equal(Product(True)(x), Product(False)(x))
settings = {"INFERENCE_PRECISION_HINT": "f32"}  # some processors would compute in bfloat16
compiled = openvino.compile_model(openvino.convert_model(Product(False), example_input=x), "CPU", settings)
difference = abs(compiled(x.numpy())[0] - Product(False)(x).numpy()).max()
print(f"transpose: converted, largest difference to torch {difference:.1e}")
assert difference < 1e-5
try:
    openvino.convert_model(Product(True), example_input=x)
except Exception as error:  # of a private class
    reason = [line for line in str(error).splitlines() if "aten::" in line]
    print(f"mT: {type(error).__name__}: {reason}")
    assert any("aten::mT" in line for line in reason), f"behaviour has changed: {error}"
else:
    raise SystemExit("behaviour has changed: mT is converted")
PYTHON
