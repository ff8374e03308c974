"""Frozen networks as blobs of OpenVINO: written out once for each shape of the inputs, kept in the cache folder."""

from __future__ import annotations

import copy
import hashlib
import time
import warnings
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from threefusion.errors import UserError
from threefusion.machine.checksums import cache_folder
from threefusion.machine.sealed import read_sealed, write_sealed
from threefusion.messages import Noted, send

PRECISION = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}
"""OpenVINO's names of the precisions that networks run in."""


class ChannelwiseGroupNorm(nn.Module):
    """A group norm from means over each channel, which OpenVINO computes channels last as its convolutions are.

    Its own reorders the image before and after: 2.5 ms of the 21 that the bundled pixel prior takes for 8 images, on one core of
    an EPYC. Its sums also depend on the number of threads, which these do not.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "B C *shape"]) -> Float[Tensor, "B C *shape"]:
        """The normalised image."""
        each = (1, -1, *(1,) * (x.ndim - 2))
        mean, square = self.grouped(x), self.grouped(x * x)
        factor = torch.rsqrt(square - mean * mean + self.norm.eps)
        if self.norm.weight is None:
            return x * factor - mean * factor
        factor = factor * self.norm.weight.view(each)
        return x * factor + (self.norm.bias.view(each) - mean * factor)

    def grouped(self, x: Float[Tensor, "B C *shape"]) -> Tensor:
        """The mean of each channel's group, `[B C 1 …]`."""
        batch, channels, groups = len(x), self.norm.num_channels, self.norm.num_groups
        mean = x.mean(tuple(range(2, x.ndim))).view(batch, groups, channels // groups).mean(2, keepdim=True)
        return mean.expand(batch, groups, channels // groups).reshape(batch, channels, *(1,) * (x.ndim - 2))


class FusedUpsample(nn.Module):
    """Nearest-neighbour upsampling by 2 and the convolution after it as one transposed convolution: 16 products per pixel of the
    small image instead of 36."""

    def __init__(self, upsample: nn.Module) -> None:
        super().__init__()
        self.upsample = upsample
        weight = upsample.conv.weight.transpose(0, 1).flip(2, 3)
        # a pixel of the small image is four of the large one, each of which reaches 3 x 3 pixels
        shifted = [functional.pad(weight, (right, 1 - right, down, 1 - down)) for down in (0, 1) for right in (0, 1)]
        self.weight = nn.Parameter(torch.stack(shifted).sum(0), requires_grad=False)

    def forward(self, x: Float[Tensor, "B C h w"], output_size: Sequence[int] | None = None) -> Float[Tensor, "B D H W"]:
        """The convolved large image."""
        if output_size is not None and tuple(output_size) != (2 * x.shape[2], 2 * x.shape[3]):
            return self.upsample(x, output_size)
        return functional.conv_transpose2d(x, self.weight, self.upsample.conv.bias, stride=2, padding=1)

    @staticmethod
    def replaces(module: nn.Module) -> bool:
        """Whether a module is an upsampling of diffusers that does nothing else."""
        conv = getattr(module, "conv", None)
        plain = type(module).__name__ == "Upsample2D" and module.norm is None and module.interpolate and module.use_conv
        return plain and type(conv) is nn.Conv2d and (conv.kernel_size, conv.padding, conv.groups) == ((3, 3), (1, 1), 1)


def prepared(network: nn.Module) -> nn.Module:
    """`network` in the form that is exported, changed in place: the same results up to rounding."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, ChannelwiseGroupNorm(child))
            elif FusedUpsample.replaces(child):
                setattr(module, name, FusedUpsample(child))
    return network


def exported(network: nn.Module, options: dict[str, Any], inputs: Sequence[Tensor], identity: str) -> tuple[bytes, Path]:
    """A network for inputs of these shapes, and the file that keeps it, from there where it is.

    The first byte says whether the network returns a tuple, the rest is the blob. `identity` is what the network's result depends
    on beside its weights and settings. A damaged file is written again; one that cannot be written costs time, not the run.
    """
    path = entry_path(network, options, inputs, identity)
    try:
        return read_sealed(path), path
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        send(Noted(f"The exported network {path} cannot be read ({error}); it is exported again."))
    start = time.perf_counter()
    content = export(network, options, inputs)
    send(Noted(f"network exported to OpenVINO in {time.perf_counter() - start:.1f} s, once: {path}"))
    try:
        write_sealed(path, content)
    except UserError as error:
        send(Noted(f"The exported network cannot be kept: {error}"))
    return content, path


def export(network: nn.Module, options: dict[str, Any], inputs: Sequence[Tensor]) -> bytes:
    """A network for inputs of these shapes, traced, converted and compiled, in its own precision."""
    import openvino

    # weights are read in float32, whose values a lower precision gives back
    plain = prepared(copy.deepcopy(network).float()).requires_grad_(False)
    is_tuple = False

    def first_output(*values: Tensor) -> Tensor:
        nonlocal is_tuple
        outputs = plain(*values, **options)
        is_tuple = isinstance(outputs, tuple)
        return outputs[0] if is_tuple else outputs

    with torch.no_grad(), warnings.catch_warnings():
        # shapes are constants on purpose, and OpenVINO traces as torch wishes it no longer did
        for category in (torch.jit.TracerWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        # of a function, in which weights are constants: modules would be scripted one by one, which takes longer than all else
        traced = torch.jit.trace(first_output, tuple(inputs), check_trace=False)
        shapes = [list(tensor.shape) for tensor in inputs]
        model = openvino.convert_model(traced, example_input=tuple(inputs), input=shapes)
    compiled = runtime().compile_model(model, "CPU", precision_hint(network))
    return bytes([is_tuple]) + compiled.export_model().getvalue()


@cache
def runtime() -> Any:
    """OpenVINO's `Core`, one for the process, which is never released.

    Where a processor has AMX, a `Core` gives the calling thread another stack for signals, and frees it when it is released. If
    two end in the order in which they began, or one ends in another thread, the thread is left with a freed stack, and the next
    signal kills the process: a Ctrl-C would not save (openvino 2026.4.1).
    """
    import openvino

    return openvino.Core()


def precision_hint(network: nn.Module) -> dict[str, str]:
    """OpenVINO's setting for the precision of a network."""
    return {"INFERENCE_PRECISION_HINT": PRECISION[next(network.parameters()).dtype]}


def entry_path(network: nn.Module, options: dict[str, Any], inputs: Sequence[Tensor], identity: str) -> Path:
    """The file of a network, whose name is the digest of all that its content depends on: the processor and versions too."""
    import openvino

    digest = hashlib.sha256(Path(__file__).read_bytes())  # what is exported follows this code
    processor = [runtime().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    versions = {name: version(name) for name in ("torch", "diffusers", "threefusion")}
    shapes = [(tensor.shape, tensor.dtype) for tensor in inputs]
    configs = [module.config for module in network.modules() if isinstance(getattr(module, "config", None), dict)]
    # without the folder that it was read from
    settings = [{name: value for name, value in config.items() if name[0] != "_"} for config in configs]
    digest.update(repr((openvino.__version__, versions, processor, shapes, options, settings, identity, network)).encode())
    for name, tensor in network.state_dict().items():
        digest.update(repr((name, tensor.shape, tensor.dtype)).encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return cache_folder() / "networks" / f"{digest.hexdigest()}.openvino"
