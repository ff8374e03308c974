"""Score distillation with networks of the real models' shapes at random weights, which cost what the real ones do. Needs CUDA.

Not run on a GPU yet; everything but the clock and the graphs is tested on the processor with small shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import torch
from torch import nn

from benchmarks.floors.architectures import Architecture
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.model_settings import CLASSES, ModelSettings, class_defaults
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.pretrained import PretrainedPrior, network_class
from threefusion.guidance.prior.settings import LatentConfig, PixelConfig, PretrainedConfig
from threefusion.perf.guidance import CONDITIONS, prior_candidates
from threefusion.perf.scene import SEED
from threefusion.perf.timing import Candidate, plain

DTYPE = "bfloat16"
"""Of the full-size networks."""
TOKENS = 77
"""Per text: CLIP's, and those with which DeepFloyd IF was trained."""
EXECUTIONS = {"torch": "eager", "torch-captured": "cuda-graph"}
"""Names of candidates, and how their prior runs its networks."""


class RandomWeights:
    """Mixin of a pretrained prior: an architecture in place of files."""

    architecture: Architecture

    def settings(self, part: str) -> ModelSettings:
        """Of the architecture, and of Stable Diffusion's noise schedule; another one costs the same."""
        betas = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
        name, given = CLASSES[part][0], betas if part == "scheduler" else getattr(self.architecture, part)
        return ModelSettings(Path(part), class_defaults(name) | given | {"_class_name": name})

    def read_network(self, part: str) -> nn.Module:
        """A network with the weights that its class begins with."""
        with torch.device(self.device):
            network = network_class(CLASSES[part][0]).from_config(dict(self.settings(part)))
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
    """The guidance call, and the U-Net and the encoder on their own: eager, and captured as CUDA graphs."""
    graphs = device.type == "cuda" and any(field.name == "execution" for field in fields(PretrainedConfig))
    for name, execution in EXECUTIONS.items():
        if execution == "eager" or graphs:
            prior = random_prior(architecture, dtype, device, execution)
            for batch in batches:
                yield from _parts(name, prior, architecture, batch, device)


def _parts(
    name: str, prior: PretrainedPrior, architecture: Architecture, batch: int, device: torch.device
) -> Iterator[Candidate]:
    random = torch.Generator().manual_seed(SEED)
    texts = Conditioning(torch.randn(CONDITIONS, TOKENS, architecture.token_width, generator=random)).to(device)
    pixels = prior.image_size if isinstance(prior, LatentPrior) else prior.shape[1]
    yield from prior_candidates(name, prior, texts, batch, pixels)
    if architecture.vae is not None:
        size = {"batch": batch, "resolution": pixels}
        yield Candidate(name, "encode+backward", size, plain(_encode_call(prior, batch, pixels, device)))


def _encode_call(prior: PretrainedPrior, batch: int, pixels: int, device: torch.device) -> Callable[[], None]:
    image = torch.rand(batch, pixels, pixels, 3, generator=torch.Generator().manual_seed(SEED)).to(device).requires_grad_()
    gradient = torch.randn(batch, *prior.shape, device=device)

    def call() -> None:
        image.grad = None
        prior.encode(image).backward(gradient)

    return call
