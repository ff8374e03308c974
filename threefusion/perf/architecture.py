"""Score distillation with networks of the real models' shapes at random weights, which cost what the real ones do. Needs CUDA.

Not run on a GPU yet; everything but the clock and the graphs is tested on the processor with small shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from threefusion.guidance.prior.architectures import Architecture
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.pretrained import PretrainedPrior, network_class
from threefusion.guidance.prior.settings import LatentConfig, PixelConfig, PretrainedConfig
from threefusion.perf.guidance import CONDITIONS, guidance_call
from threefusion.perf.networks import encoder_flops, unet_flops
from threefusion.perf.scene import SEED
from threefusion.perf.timing import Candidate, plain
from threefusion.perf.work import Work

TOKENS = 77
"""Per text: CLIP's, and those with which DeepFloyd IF was trained."""
EXECUTIONS = {"torch": "eager", "torch-captured": "cuda-graph"}
"""Names of candidates, and how their prior runs its networks."""


class RandomWeights:
    """Mixin of a pretrained prior: an architecture in place of files."""

    architecture: Architecture

    def settings(self, part: str) -> dict[str, Any]:
        """Of the architecture, and of Stable Diffusion's noise schedule; another one costs the same."""
        if part == "scheduler":
            return {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        return dict(getattr(self.architecture, part))

    def read_network(self, part: str) -> nn.Module:
        """A network with the weights that its class begins with."""
        with torch.device(self.device):
            network = network_class(part).from_config(self.settings(part))
        return network.eval().requires_grad_(False).to(self.dtype, memory_format=torch.channels_last)


class RandomPixelPrior(RandomWeights, PixelPrior):
    """Shaped as DeepFloyd IF."""


class RandomLatentPrior(RandomWeights, LatentPrior):
    """Shaped as Stable Diffusion."""


def random_prior(architecture: Architecture, dtype: str, device: torch.device, execution: str = "eager") -> PretrainedPrior:
    """A prior of this shape on `device`."""
    chosen = {"dtype": dtype} if execution == "eager" else {"dtype": dtype, "execution": execution}
    if architecture.vae is None:
        prior = RandomPixelPrior(PixelConfig(**chosen))
    else:
        prior = RandomLatentPrior(LatentConfig(**chosen))
    prior.architecture = architecture
    return prior.to(device)


def architecture_candidates(
    architecture: Architecture, batches: Sequence[int], dtype: str, device: torch.device
) -> Iterator[Candidate]:
    """The guidance call, and on their own the U-Net and the encoder in it: as they are, and captured as CUDA graphs."""
    graphs = device.type == "cuda" and any(field.name == "execution" for field in fields(PretrainedConfig))
    for name, execution in EXECUTIONS.items():
        if execution == "eager" or graphs:
            prior = random_prior(architecture, dtype, device, execution)
            for batch in batches:
                yield from _parts(name, prior, architecture, batch, dtype, device)


def _parts(
    name: str, prior: PretrainedPrior, architecture: Architecture, batch: int, dtype: str, device: torch.device
) -> Iterator[Candidate]:
    random = torch.Generator().manual_seed(SEED)
    tokens = torch.randn(CONDITIONS, TOKENS, architecture.token_width, generator=random).to(device)
    pixels = prior.image_size if isinstance(prior, LatentPrior) else prior.shape[1]
    size = {"batch": batch, "resolution": pixels}
    network = Work(unet_flops(architecture.unet, CONDITIONS * batch, (TOKENS, architecture.token_width)), dtype)
    encoder = Work(0 if architecture.vae is None else encoder_flops(architecture.vae, batch, pixels), dtype)
    whole = Work(network.flops + encoder.flops, dtype)
    yield Candidate(name, "guidance", size, guidance_call(prior, tokens, batch, pixels, device), whole)

    z = torch.randn(CONDITIONS * batch, *prior.shape, generator=random).to(device)
    timesteps = torch.full((len(z),), 500, device=device)
    predict = torch.no_grad()(lambda: prior.predict_noise(z, timesteps, tokens.repeat_interleave(batch, 0)))
    yield Candidate(name, "U-Net", size, plain(predict), network)
    if architecture.vae is not None:
        yield Candidate(name, "encode+backward", size, plain(_encode_call(prior, batch, pixels, device)), encoder)


def _encode_call(prior: PretrainedPrior, batch: int, pixels: int, device: torch.device) -> Callable[[], None]:
    image = torch.rand(batch, pixels, pixels, 3, generator=torch.Generator().manual_seed(SEED)).to(device).requires_grad_()
    gradient = torch.randn(batch, *prior.shape, device=device)

    def call() -> None:
        image.grad = None
        prior.encode(image).backward(gradient)

    return call
