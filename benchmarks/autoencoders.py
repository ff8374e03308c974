"""What another autoencoder, or another precision, changes in the latents of a prior, their gradient and their pictures.

    python -m benchmarks.autoencoders --model stable-diffusion-2-1-base --autoencoder taesd
    python -m benchmarks.autoencoders --model stable-diffusion-xl --dtype bfloat16

The reference is the model's own autoencoder in float32, on views of the toy world's objects. Models have to be on this machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.machine.process import prepare_process
from threefusion.registry import build
from threefusion.toyworld.render import render_surface, scoring_cameras

OBJECTS = ("mushroom", "car", "duck", "house")
REPETITIONS = 3


@dataclass(frozen=True)
class Comparison:
    """Of a prior's encoder with that of a reference."""

    latents: float
    """Error of the normalised latents: the norm of the difference over that of the reference's."""
    gradient: float
    """Cosine of the gradients of the pictures, for equal gradients of the latents: what a training sees."""
    picture: float
    """Root mean square difference of the pictures that the reference's latents are decoded to."""
    milliseconds: tuple[float, float]
    """Encoding and its backward pass, of the reference and of the other; medians, in turns."""


def compare(reference: LatentPrior, other: LatentPrior, rgb: Float[Tensor, "B H W 3"]) -> Comparison:
    """How an encoder differs from that of `reference` on pictures."""
    probe = torch.randn(len(rgb), *reference.shape, generator=torch.Generator().manual_seed(0)).to(reference.device)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPETITIONS):
        results = [
            timed(lambda prior=prior: encoded(prior, rgb, probe), taken)
            for prior, taken in zip((reference, other), times, strict=True)
        ]
    (x, slope), (y, other_slope) = results
    with torch.no_grad():
        picture = (reference.decode(x) - other.decode(x)).square().mean().sqrt()
    return Comparison(
        latents=((y - x).norm() / x.norm()).item(),
        gradient=cosine_similarity(other_slope.flatten(), slope.flatten(), dim=0).item(),
        picture=picture.item(),
        milliseconds=(median(times[0]), median(times[1])),
    )


def encoded(prior: LatentPrior, rgb: Float[Tensor, "B H W 3"], probe: Float[Tensor, "B C h w"]) -> tuple[Tensor, Tensor]:
    """Latents, and the gradient of the pictures for the gradient `probe` of the latents."""
    image = rgb.clone().requires_grad_()
    x = prior.encode(image)
    return x.detach(), torch.autograd.grad(x, image, probe)[0]


def timed(function: Callable[[], tuple[Tensor, Tensor]], taken: list[float]) -> tuple[Tensor, Tensor]:
    """What the function returns; its milliseconds are added to `taken`."""
    start = time.perf_counter()
    result = function()
    if result[0].is_cuda:
        torch.cuda.synchronize()
    taken.append(1000 * (time.perf_counter() - start))
    return result


def pictures(size: int) -> Float[Tensor, "B H W 3"]:
    """Four views of each object, on white."""
    cameras = scoring_cameras(size, views=4)
    surfaces = [render_surface(name, cameras, resolution=64) for name in OBJECTS]
    shown = [torch.where(one.mask[..., None], one.albedo((0.8, 0.2, 0.2)), torch.ones(())) for one in surfaces]
    return torch.cat(shown)


def main(words: list[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoencoders", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="toyworld-latent", help="the prior's model (toyworld-latent)")
    parser.add_argument("--autoencoder", help="another autoencoder, as in guidance.prior.autoencoder")
    parser.add_argument("--dtype", default="auto", help="another precision, as in guidance.prior.autoencoder_dtype")
    arguments = parser.parse_args(words)
    prepare_process()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain = settings_class("prior", "latent")(model=arguments.model, autoencoder_dtype="float32")
    changed = replace(plain, autoencoder=arguments.autoencoder, autoencoder_dtype=arguments.dtype)
    reference, other = (build(cfg).to(device) for cfg in (plain, changed))
    found = compare(reference, other, pictures(reference.image_size).to(device))
    print(f"relative error of the latents      {found.latents:.4f}")
    print(f"cosine of the pictures' gradients  {found.gradient:.4f}")
    print(f"RMS difference of decoded pictures {found.picture:.4f}")
    print("encode and backward                {:.1f} ms, reference {:.1f} ms".format(*reversed(found.milliseconds)))


if __name__ == "__main__":
    main()
