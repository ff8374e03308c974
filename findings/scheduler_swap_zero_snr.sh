#!/usr/bin/env bash
# The scheduler of a zero-terminal-SNR model exchanged as diffusers 0.42.1 documents: Other.from_config(pipeline.scheduler.config).
# Expected: the same noise schedule under another sampler, or a warning that the other class cannot rescale it.
# Seen: PNDM, LMS, Heun, DEIS, DPMSolverSinglestep and KDPM2 take rescale_betas_zero_snr into their config, where it reads true,
# and leave the betas as they were: the last step still has signal, the middle one has 15 % more. No warning, also not after
# save_pretrained and from_pretrained.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 scipy==1.17.1 diffusers==0.42.1 transformers==5.24.0
"$work/venv/bin/python" - "$work" <<'PYTHON' 2> "$work/errors"
import sys

import diffusers

betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction"}
trained = diffusers.DDIMScheduler(**betas, rescale_betas_zero_snr=True)
print(f"DDIM, rescaled: signal at 500 {trained.alphas_cumprod[500]:.4f}, at 999 {trained.alphas_cumprod[-1]:.1e}")
for name in ("PNDM", "LMSDiscrete", "HeunDiscrete", "DEISMultistep", "DPMSolverSinglestep", "KDPM2Discrete", "EulerDiscrete"):
    cls = getattr(diffusers, f"{name}Scheduler")
    cls.from_config(trained.config).save_pretrained(f"{sys.argv[1]}/{name}")
    swapped = cls.from_pretrained(f"{sys.argv[1]}/{name}")
    middle, last = swapped.alphas_cumprod[500].item(), swapped.alphas_cumprod[-1].item()
    flag = swapped.config.get("rescale_betas_zero_snr")
    print(f"{name}: rescale_betas_zero_snr {flag}, signal at 500 {middle:.4f}, at 999 {last:.1e}")
    kept = abs(middle - trained.alphas_cumprod[500].item()) < 1e-6
    assert flag and kept == (name == "EulerDiscrete"), f"behaviour has changed: {name}"
PYTHON
if grep -i "rescale_betas_zero_snr" "$work/errors"; then
    echo "behaviour has changed: there is a warning" >&2
    exit 1
fi
