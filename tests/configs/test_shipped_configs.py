"""Every config that is shipped is right, and those that name the real models train on models of the same shape."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from box_file import box_glb
from PIL import Image
from tiny import save_tiny_if, save_tiny_sd, save_tiny_sd3
from tiny_conditioned import save_tiny_if_ii, save_tiny_mvdream, save_tiny_zero123

from threefusion.bench.plan import load_plan
from threefusion.cli.main import run
from threefusion.config import RunConfig, Schedule, config_to_yaml, load_config
from threefusion.guidance.prior.models import MODELS
from threefusion.registry import entry_of
from threefusion.run.folder import stage_folders

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("plugins/*/configs/**/*.yaml")])
WHOLE = [path for path in SHIPPED if path.parent.name not in ("base", "bench")]
BENCHMARKS = [path for path in SHIPPED if path.parent.name == "bench"]
PARTS = [path for path in SHIPPED if path.parent.name == "base"]
REAL = {
    "dreamfusion-if": ["pixel"],
    "dreamfusion-sd": ["latent"],
    "dreamfusion-paper": ["pixel"],
    "magic3d": ["pixel", "latent"],
    "fantasia3d": ["latent", "latent"],
    "textmesh": ["pixel", "latent"],
    "cfd": ["latent", "latent"],
    "sjc": ["latent"],
    "latent-nerf": ["latent", "latent"],
    "csd": ["pixel"],
    "nfsd": ["latent"],
    "hifa": ["latent"],
    "sdi": ["latent"],
    "luciddreamer": ["latent"],
    "rfds": ["flow"],
    "mvdream": ["multi-view"],
    "zero123": ["image-conditioned"],
    "prolificdreamer": ["latent", "latent", "latent"],
    "retexture": ["latent"],
    "refine": ["latent"],
    "castex": ["pixel", "super-resolution"],
}
"""The prior of each stage."""

GIVEN = {"edit": "geometry.init_from=scene.ply", "zero123": "guidance.prior.image=picture.png"} | dict.fromkeys(
    ("retexture", "retexture-quickstart", "refine", "refine-tiny", "castex", "castex-tiny"), "geometry.mesh=box.glb"
)
GIVEN["zero123-tiny"] = "loss.reference.image=picture.png"
"""What has to be given to a config: the scene or the picture that it starts from."""


@pytest.fixture(autouse=True)
def given_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of `GIVEN`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("scene.ply").touch()
    box_glb(Path("box.glb"))
    Image.new("RGB", (16, 16), "red").save("picture.png")


def given(config: str) -> list[str]:
    """The overrides without which a config is not complete."""
    return [GIVEN[config]] if config in GIVEN else []


ONE_STEP = ["trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "exporter=null"]
ONE_STEP += ["output.image_size=8", "output.turntable_size=8", "output.turntable_frames=1"]
TETRAHEDRA = ["camera.height=32", "camera.width=32", "geometry.resolution=24"]
TEXTURES = [*TETRAHEDRA[:2], "geometry.texture_size=16", "camera.batch_size=2", "camera.candidates=8"]
SMALLER = {
    ("dreamfusion-paper", 0): ["camera.height=8", "camera.width=8"],
    ("magic3d", 1): TETRAHEDRA,
    ("fantasia3d", 0): TETRAHEDRA,
    ("fantasia3d", 1): TETRAHEDRA[:2],
    ("textmesh", 1): TETRAHEDRA[:2],
    ("cfd", 0): TETRAHEDRA[:2],
    ("cfd", 1): TETRAHEDRA[:2],
    ("prolificdreamer", 0): TETRAHEDRA[:2],
    ("prolificdreamer", 1): TETRAHEDRA,
    ("prolificdreamer", 2): TETRAHEDRA[:2],
    ("latent-nerf", 0): TETRAHEDRA[:2],
    ("latent-nerf", 1): TETRAHEDRA[:2],
    ("luciddreamer", 0): TETRAHEDRA[:2],
    ("rfds", 0): ["guidance.prior.image_size=64", "guidance.prior.text_tokens=8"],
    ("mvdream", 0): [*TETRAHEDRA[:2], "camera.batch_size=4"],
    ("zero123", 0): TETRAHEDRA[:2],
    ("retexture", 0): TEXTURES,
    ("refine", 0): TEXTURES,
    ("castex", 0): TEXTURES,
    ("castex", 1): TEXTURES,
}
"""What is changed in a stage beside the model, because it takes too long on one core for a test."""


def name(path: Path) -> str:
    """How a config is called in a report."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", WHOLE, ids=name)
def test_a_shipped_config_is_right_and_survives_being_written_out(path: Path, tmp_path: Path) -> None:
    config = load_config(path, given(path.stem))
    (tmp_path / "config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    assert load_config(tmp_path / "config.yaml", []) == config


@pytest.mark.parametrize("path", PARTS, ids=name)
def test_a_shared_part_is_right_once_it_has_a_prompt(path: Path) -> None:
    assert isinstance(load_config(path, ["prompt.text=a red ball"]), RunConfig)


@pytest.mark.parametrize("path", BENCHMARKS, ids=name)
def test_a_shipped_benchmark_is_right_in_every_cell(path: Path) -> None:
    plan = load_plan(path, [])
    assert len(plan.cells) == len(plan.variants) * len(plan.prompts) * len(plan.seeds) >= 8
    different = {config_to_yaml(cell.config) for cell in plan.cells}
    assert len(different) == len(plan.cells)


def test_every_config_that_is_said_to_run_a_real_model_does_so() -> None:
    for config, priors in REAL.items():
        chosen = [
            stage.guidance["guidance"].prior for stage in load_config(ROOT / "configs" / f"{config}.yaml", given(config)).parts
        ]
        models = [MODELS[prior.model] for prior in chosen]
        assert [entry_of(prior).name for prior in chosen] == [model.prior for model in models] == priors
        assert all(model.sources for model in models)


PAPER = {
    "prompt": {"overhead_deg": 60.0},
    "camera": {"batch_size": 4, "height": 64, "width": 64, "elevation_range_deg": (-10.0, 90.0), "distance_range": (1.0, 1.5),
               "focal_range": (0.7, 1.35), "albedo_steps": 1000, "lit_probability": 0.75, "textureless_probability": 0.5,
               "ambient_range": (0.1, 0.1)},
    "geometry": {"radius": 1.4, "hidden_width": 128, "hidden_layers": 5, "activation": "exp", "blob_scale": 5.0, "blob_std": 0.2},
    "guidance": {"guidance_scale": Schedule.constant(101.0), "timestep_weight": "sigma2", "t_min": Schedule.constant(0.02),
                 "t_max": Schedule.constant(0.98)},
}  # fmt: skip
"""The numbers in the table of docs/real-models.md; guidance is the paper's 100 plus 1."""


@pytest.mark.parametrize("kind", PAPER)
def test_the_papers_config_has_the_numbers_that_its_page_says(kind: str) -> None:
    chosen = getattr(load_config(ROOT / "configs" / "dreamfusion-paper.yaml", []), kind)
    chosen = chosen["guidance"] if kind == "guidance" else chosen
    assert {name: getattr(chosen, name) for name in PAPER[kind]} == PAPER[kind]


THREESTUDIO = {
    "dreamfusion-if": [20],
    "dreamfusion-sd": [100],
    "magic3d": [20, 100],
    "fantasia3d": [100, 100],
    "textmesh": [20],
}
"""Guidance scales of threestudio's configs, by stage; it has no second stage of TextMesh."""


@pytest.mark.parametrize("config", THREESTUDIO)
def test_threestudios_guidance_scales_are_converted(config: str) -> None:
    stages = load_config(ROOT / "configs" / f"{config}.yaml", []).parts
    scales = [stage.guidance["guidance"].guidance_scale for stage in stages[: len(THREESTUDIO[config])]]
    assert scales == [Schedule.constant(scale + 1) for scale in THREESTUDIO[config]]


@pytest.fixture(scope="module")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Random pipelines shaped as the published ones, by prior."""
    folder = tmp_path_factory.mktemp("models")
    return {
        "pixel": save_tiny_if(folder / "if"),
        "super-resolution": save_tiny_if_ii(folder / "if-ii"),
        "latent": save_tiny_sd(folder / "sd"),
        "flow": save_tiny_sd3(folder / "sd3"),
        "multi-view": save_tiny_mvdream(folder / "mvdream"),
        "image-conditioned": save_tiny_zero123(folder / "zero123"),
    }


def one_step(config: str, models: dict[str, Path]) -> list[str]:
    """Overrides of a run of one step per stage, with the models replaced by `models`."""
    staged = bool(load_config(ROOT / "configs" / f"{config}.yaml", given(config)).stages)
    words = [*ONE_STEP, *given(config)]
    for index, prior in enumerate(REAL[config]):
        changed = [f"guidance.prior.model={models[prior]}", *SMALLER.get((config, index), [])]
        changed += ["steps=1" if staged else "trainer.max_steps=1"]
        words += [f"stages.{index}.{word}" for word in changed] if staged else changed
    return words


@pytest.mark.parametrize("config", REAL)
def test_a_real_models_config_takes_a_step_with_the_model_replaced(
    config: str, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, words = tmp_path / "run", one_step(config, tiny_models)
    assert run(["train", "--config", str(ROOT / "configs" / f"{config}.yaml"), "--out", str(folder), *words]) == 0
    written = load_config(folder / "config.yaml", [])
    for stage in stage_folders(folder, written):
        (row,) = csv.DictReader((stage / "metrics.csv").open())
        assert float(row["grad_nonfinite"]) == 0
        assert float(row["grad_norm"]) > 0
    expected = load_config(ROOT / "configs" / f"{config}.yaml", words)
    assert [stage.guidance for stage in written.parts] == [stage.guidance for stage in expected.parts]
