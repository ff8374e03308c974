"""The table of costs: its counts are those of torch and of the real models, and the page has what the program prints."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.costs import table
from benchmarks.costs.__main__ import BEGIN, END, main, write
from benchmarks.costs.count import Cost, Kernel, count
from benchmarks.costs.gpus import GPU, GPUS
from benchmarks.costs.shapes import SHAPES, Shape
from benchmarks.floors.networks import encoder_flops, unet_flops
from threefusion.guidance.prior.models import MODELS

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
COUNTED = ("stable-diffusion-2-1-base", "encoder of taesd", "encoder of Stable Diffusion 1, 2, XL")
"""Rows that are counted again here; all of them together take a quarter of a minute."""
CONTROL = GPU("slow", 1e-6, 1e-3, 1, "https://example.org")
"""5e5 operations and 8e5 bytes a second."""
TINY = Shape(
    "tiny",
    "UNet2DConditionModel",
    {
        "sample_size": 8, "block_out_channels": (8, 16), "norm_num_groups": 4, "cross_attention_dim": 6, "layers_per_block": 1,
        "attention_head_dim": 4, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    64,
    {"sample": (4, 8, 8), "timestep": (), "encoder_hidden_states": (5, 6)},
)  # fmt: skip


@pytest.fixture(scope="module")
def counted():
    """The rows of `COUNTED`, for one view."""
    return table.rows([shape for shape in SHAPES if shape.name in COUNTED], [1], GPUS)


@pytest.mark.parametrize("name", ["stable-diffusion-2-1-base", "stable-diffusion-xl", "stable-diffusion-3-medium", "flux-dev"])
def test_parameters_of_the_real_models(name: str) -> None:
    shape = next(shape for shape in SHAPES if shape.name == name)
    parameters = sum(value.numel() for value in shape.network(table.META, table.DTYPE).parameters())
    wide = shape.inputs.get("sample", shape.inputs.get("hidden_states"))[0] == 4
    assert parameters == MODELS[name].parameters - (83_653_863 if wide else 83_819_683)


def test_operations_are_those_that_torch_counts(counted) -> None:
    network, encoder = (
        next(row for row in counted if row.shape.name == name and row.shape.pixels == 512) for name in COUNTED[::2]
    )
    assert network.cost.flops == pytest.approx(unet_flops(network.shape.settings, 2, (77, 1024)), rel=1e-3)
    assert encoder.cost.flops == pytest.approx(encoder_flops(encoder.shape.settings, 1, 512), rel=1e-3)
    assert network.cost.weights == pytest.approx(2 * 865_910_724, rel=1e-6) and network.cost.kept == 0
    # the backward pass to the image alone costs what the forward pass does
    assert 1.7e9 < encoder.cost.kept < 1.8e9 and encoder.cost.flops == pytest.approx(2.27e12, rel=0.01)


def test_the_page_has_the_rows_that_the_program_prints(counted) -> None:
    page = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    (
        head,
        *_,
    ) = table.as_markdown(counted, GPUS).partition("| network")
    assert head.strip() in page
    for row in counted:
        assert table.line(table.cells(row, GPUS, False)) in page
    assert page.count("\n| ") == 2 + 2 * len(SHAPES)


def test_kernels_bytes_and_views_of_a_product() -> None:
    a, b = (torch.empty(4, 8, device="meta") for _ in "ab")
    cost = count(lambda: (a.t().reshape(8, 4) @ b).relu(), [b])
    assert [(kernel.flops, kernel.traffic) for kernel in cost.kernels] == [(2 * 8 * 4 * 8, 4 * (32 + 32 + 64)), (0, 4 * 128)]
    assert (cost.flops, cost.traffic, cost.weights, cost.kept) == (512, 4 * 256, 4 * 32, 0)


def test_attention_is_one_kernel_that_does_not_write_its_matrix() -> None:
    query, key = torch.empty(2, 3, 50, 8, device="meta"), torch.empty(2, 3, 70, 8, device="meta")
    attend = torch.nn.functional.scaled_dot_product_attention
    with torch.no_grad():
        (kernel,) = count(lambda: attend(query, key, value=key), []).kernels
    assert kernel == Kernel(2 * 2 * 3 * 50 * 70 * (8 + 8), 4 * 2 * 3 * 8 * (50 + 70 + 70 + 50))


def test_what_is_kept_for_the_backward_pass_is_not_the_weights() -> None:
    weight, x = torch.empty(4, 4, device="meta"), torch.empty(2, 4, device="meta", requires_grad=True)
    assert count(lambda: torch.autograd.grad((x @ weight).exp().sum(), x), [weight]).kept == 4 * 8


def test_a_kernel_takes_the_longer_of_computing_and_moving() -> None:
    cost = Cost((Kernel(1000, 100), Kernel(10, 8000), Kernel(0, 80)), 0, 0)
    assert cost.milliseconds(CONTROL) == pytest.approx(2 + 10 + 0.1)
    assert table.expected(cost, CONTROL) == cost.milliseconds(CONTROL)
    assert table.expected(replace(cost, weights=960_000_000), CONTROL) is None


def test_a_measured_call_is_compared_with_what_was_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "device_clock", time.perf_counter)
    monkeypatch.setattr(table, "DTYPE", torch.float32)
    (row,) = table.rows([TINY], [2], [CONTROL])
    measured = table.measured(TINY, 2, torch.device("cpu"), repetitions=1)
    assert measured > 0
    cells = table.cells(replace(row, measured=measured), [CONTROL], True)
    assert cells[-1] == f"{measured / row.expected['slow']:.2f}"
    assert "| measured | / expected |" in table.as_markdown([replace(row, measured=measured)], [CONTROL])


def test_every_input_that_is_given_is_read() -> None:
    """By the names of the networks, on the meta device; IF and the transformers too."""
    for shape in SHAPES:
        if shape.name not in COUNTED and shape.pixels != 1024:
            network = shape.network(table.META, table.DTYPE)
            assert count(shape.call(network, 1, table.META, table.DTYPE), []).flops > 1e11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpu", "H20"], "--gpu: 'H20' is not one of H200.*Did you mean 'H200'"),
        (["--network", "dall-e"], "--network: 'dall-e' is in none of stable-diffusion-2-1-base"),
        (["--views", "0"], "--views: at least 1"),
        (["--measure"], "--measure: needs a CUDA device, and torch sees none"),
    ],
)
def test_what_cannot_be_counted_is_one_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=message):
        main(words)


def test_it_prints_and_writes_between_the_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    main(["--network", "taesd", "--views", "2", "--gpu", "T4", "--page", str(page)])
    text = page.read_text()
    assert capsys.readouterr().out.strip() in text and "old" not in text
    assert text.startswith("before\n") and text.endswith(f"{END}\nafter\n") and "| encoder of taesd | 512 | 2 |" in text
    write(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
