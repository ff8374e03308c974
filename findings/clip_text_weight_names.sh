#!/usr/bin/env bash
# A CLIPTextModel saved by transformers 5.24.0 and read by 5.5.4, with the same major version and the same class.
# Expected: the same weights, or an exception.
# Seen: since 5.6 the names are saved without the prefix `text_model.`. 5.5.4 reads none of the 36 weights, initialises them at random
# and returns: no exception, a log message only. Files with the prefix are read by both.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 torch==2.13.0 transformers==5.24.0
"$work/venv/bin/python" - "$work/model" <<'PYTHON' 2>/dev/null
import sys

from transformers import CLIPTextConfig, CLIPTextModel

config = CLIPTextConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
CLIPTextModel(config).save_pretrained(sys.argv[1])
again, info = CLIPTextModel.from_pretrained(sys.argv[1], output_loading_info=True)
print(f"5.24.0 reads its own file: {len(info['missing_keys'])} weights missing")
assert not info["missing_keys"]
PYTHON
"$work/venv/bin/pip" install --quiet transformers==5.5.4
"$work/venv/bin/python" - "$work/model" <<'PYTHON' 2>/dev/null
import sys

from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

file = f"{sys.argv[1]}/model.safetensors"
results = []
for prefix in ("", "text_model."):
    save_file({prefix + name: weight for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})
    model, info = CLIPTextModel.from_pretrained(sys.argv[1], output_loading_info=True)
    results.append((len(model.state_dict()), len(info["missing_keys"])))
    print(f"5.5.4 reads names with the prefix {prefix!r}: {results[-1][1]} of {results[-1][0]} weights missing, no exception")
assert results == [(36, 36), (36, 0)], f"behaviour has changed: {results}"
PYTHON
