"""Triton's kernels without a GPU: their tests in Triton's interpreter, and all of them compiled for Hopper (sm_90).

    python tests/ops/triton_offline.py [--folder FOLDER]

Not part of the test suite: it takes minutes and creates its own virtual environment, because Triton's interpreter needs an older
numpy. Prints the registers of every kernel; fails if a kernel spills registers.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ["torch==2.13.0", "triton==3.6.0", "numpy<2.4", "numba", "jaxtyping", "beartype", "pytest"]
# finite differences call a kernel for every element, and test the formulas rather than the kernels
TESTS = ["tests/ops", "-k", "triton and not second_order"]
CHECKED = ["-o", "addopts=--strict-markers --jaxtyping-packages=threefusion,beartype.beartype", "-p", "no:cacheprovider"]
TYPES = {"torch.float32": "fp32", "torch.int32": "i32", "torch.int64": "i64", "torch.uint8": "u8"}


def main() -> None:
    """Make the environment, run the tests, compile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    folder = Path(tempfile.gettempdir()) / "threefusion-triton"
    parser.add_argument("--folder", type=Path, default=folder, help="folder of the environment, which is kept")
    parser.add_argument("--compile", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compile:
        compile_all()
        return
    python = environment(arguments.folder)
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    interpreted = {**settings, "TRITON_INTERPRET": "1"}
    subprocess.run([python, "-m", "pytest", "-q", *CHECKED, *TESTS], cwd=ROOT, env=interpreted, check=True)
    subprocess.run([python, __file__, "--compile"], cwd=ROOT, env=settings, check=True)


def environment(folder: Path) -> Path:
    """The Python of a virtual environment with the packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def compile_all() -> None:
    """Compile the kernels of every kind of call, without launching them."""
    import torch
    from triton.runtime.jit import JITFunction

    from threefusion.ops.grid import Grid, hash_levels
    from threefusion.ops.march import RaySegments
    from threefusion.ops.triton_kernels import composite, grid, march

    JITFunction.run = compile_launch
    print(f"{'kernel':34}{'constants':52}registers  shared memory  spilled")
    vectors, ray_index = torch.rand(3, 3), torch.tensor([0, 0, 1])
    for features in (1, 2, 3, 4, 8):
        levels = Grid(hash_levels(3, 8, 4, 1.7), features)
        table, cotangent = torch.rand(levels.rows, features), torch.rand(3, levels.width)
        for tangent in (None, vectors):
            grid.gather(vectors, table, tangent, levels)
            grid.scatter(vectors, cotangent, tangent, levels)
            grid.point_gradient(vectors, table, cotangent, tangent, levels)
    weights = vectors[0]
    composite.weights(weights, ray_index, 2)
    composite.weights_backward(weights, weights, weights, ray_index, 2)
    for channels in (1, 3, 4, 8):
        values = torch.rand(3, channels)
        composite.weighted_sums(weights, values, ray_index, 2)
        composite.weighted_sums_backward(values, weights, values, ray_index)
    rays = RaySegments(vectors, vectors, weights, weights, weights)
    march.march(rays, torch.ones(4, 4, 4, dtype=torch.bool), 1.0, 0.1)


def compile_launch(kernel, *arguments, grid, warmup, **named) -> None:
    """Compile a launch for sm_90 and print its resource usage.

    Raises:
        AssertionError: the kernel spills registers.
    """
    import triton
    from torch import Tensor
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    values = dict(zip(kernel.arg_names, arguments, strict=False))
    values |= {name: named.pop(name) for name in list(named) if name in kernel.arg_names}
    signature, constants, attributes = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        value = values[parameter.name]
        if parameter.is_constexpr or value is None:
            signature[parameter.name], constants[(index,)] = "constexpr", value
        elif isinstance(value, Tensor):
            signature[parameter.name] = "*" + TYPES[str(value.dtype)]
            attributes[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "i32" if isinstance(value, int) else "fp32"
    source = ASTSource(kernel, signature, constants, attributes)
    registers, shared, spilled = resources(triton.compile(source, target=GPUTarget("cuda", 90, 32), options=named))
    constexprs = {parameter.name: values[parameter.name] for parameter in kernel.params if parameter.is_constexpr}
    label = ", ".join(f"{name}={value}" for name, value in constexprs.items())
    label += ", no tangent" if "tangent" in values and values["tangent"] is None else ""
    print(f"{kernel.fn.__module__.split('.')[-1] + kernel.fn.__name__:34}{label:52}{registers:9}{shared:15}{spilled:9}")
    assert not spilled, f"{kernel.fn.__name__} spills registers"


def resources(compiled) -> tuple[int, int, int]:
    """Registers, bytes of shared memory and bytes of spilled registers of a compiled kernel."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        output = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True).stdout
    usage = {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", output)}
    return usage["REG"], usage["SHARED"], usage["STACK"] + usage["LOCAL"]


if __name__ == "__main__":
    main()
