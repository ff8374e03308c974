#!/usr/bin/env bash
# A textual inversion of three vectors in a pipeline of Stable Diffusion, diffusers 0.42.1 and transformers 5.24.0; CLIP's tokenizer ignores case.
# Expected: "a <Clay> ball" is "a <clay> ball", as for all other words and for a token of one vector; a file in AUTOMATIC1111's layout
# (`emb_params`) is called as the file is.
# Seen: the token is recognised in both spellings, but only in the very spelling of the file are the second and third vector put behind it: no
# message. Without `token=` a file in AUTOMATIC1111's layout gets the token "emb_params", and its own name means nothing.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.24.0 accelerate==1.15.0
"$work/venv/bin/python" - "$work" <<'PYTHON' 2>/dev/null
import sys

import torch
from diffusers.loaders import TextualInversionLoaderMixin
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer


class Pipeline(TextualInversionLoaderMixin):
    hf_device_map = None
    components = {}

    def __init__(self):
        symbols = [chr(code) for code in range(33, 127)]
        names = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
        self.tokenizer = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=77)
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(vocab_size=len(names), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)
        )

    def tokens(self, prompt):
        return self.tokenizer.tokenize(self.maybe_convert_prompt(prompt, self.tokenizer))


pipeline = Pipeline()
save_file({"<clay>": torch.randn(3, 8)}, f"{sys.argv[1]}/clay.safetensors")
pipeline.load_textual_inversion(f"{sys.argv[1]}/clay.safetensors")
written, other = (sum("clay" in token for token in pipeline.tokens(f"a {token} ball")) for token in ("<clay>", "<Clay>"))
print(f"vectors of '<clay>': {written}; of '<Clay>': {other}")

save_file({"emb_params": torch.randn(1, 8)}, f"{sys.argv[1]}/marble.safetensors")
pipeline.load_textual_inversion(f"{sys.argv[1]}/marble.safetensors")
added = {name: name in pipeline.tokenizer.get_vocab() for name in ("marble", "emb_params")}
print(f"tokens of marble.safetensors: {added}")
assert (written, other) == (3, 1), "behaviour has changed: spelling"
assert added == {"marble": False, "emb_params": True}, "behaviour has changed: name of the token"
PYTHON
