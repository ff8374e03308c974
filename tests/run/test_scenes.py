"""Several scenes in one process: each comes out as it does alone, whatever becomes of the others."""

from __future__ import annotations

import _thread
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from threefusion.cli.main import run as command
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.run.folder import latest_checkpoint, new_run_folder, read_report
from threefusion.run.scene_folder import MARKER, open_scenes, reopen_scenes
from threefusion.run.scenes import train_scenes
from threefusion.run.training import train
from threefusion.system.text_to_3d import TextTo3D

PROMPTS = ("a red ball", "a blue cube", "a green cone")
PIXEL = (
    "guidance.prior={type: pixel, dtype: float32}", "prompt.type=binned", "guidance.guidance_scale=5", "trainer.max_steps=5",
    "camera.batch_size=2", "output.image_interval=5", "facing={steps: [2], views: 8}", "loss=null",
)  # fmt: skip


def scenes(tiny: Path, out: Path, *overrides: str, prompts: tuple[str, ...] = PROMPTS):
    configs = [load_config(tiny, [*overrides, f"prompt.text={prompt}"]) for prompt in prompts]
    return open_scenes(configs, out, "prompts")[1]


def state(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(latest_checkpoint(run), weights_only=True)["state_dict"]


def single(tiny: Path, out: Path, prompt: str, *overrides: str) -> Path:
    config = load_config(tiny, [*overrides, f"prompt.text={prompt}"])
    assert train(config, new_run_folder(config, out)) == 0
    return out


def assert_same(run: Path, other: Path) -> None:
    one, two = state(run), state(other)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (run / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()


@pytest.mark.usefixtures("terminal")
def test_each_scene_is_its_single_run_bit_for_bit(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    together = scenes(tiny, tmp_path / "all", "output.turntable_frames=0")
    assert train_scenes(together) == {"a-red-ball": 0, "a-blue-cube": 0, "a-green-cone": 0}
    shown = capsys.readouterr()
    assert "a-blue-cube: 12 steps in" in shown.out and " of 3 scenes" in shown.err
    for scene in together:
        alone = single(tiny, tmp_path / scene.name, scene.config.text, "output.turntable_frames=0")
        assert_same(scene.run, alone)
        ours, theirs = ({str(path.relative_to(run)) for path in run.rglob("*")} for run in (scene.run, alone))
        assert ours == theirs
        assert (scene.run / "config.yaml").read_text() == (alone / "config.yaml").read_text()
        for name in ("steps", "network_calls", "network_images"):
            assert read_report(scene.run)[name] == read_report(alone)[name]


def test_a_network_is_called_once_for_all_and_agrees_to_rounding(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counted(self, z, t, condition, before=PixelPrior._predict):
        sizes.append(len(z))
        return before(self, z, t, condition)

    monkeypatch.setattr(PixelPrior, "_predict", counted)
    prompts = ("a red mushroom", "a blue car")
    together = scenes(tiny, tmp_path / "all", *PIXEL, prompts=prompts)
    assert set(train_scenes(together).values()) == {0}
    both, sizes = sizes[:], []
    alone = single(tiny, tmp_path / "alone", "a blue car", *PIXEL)
    assert both == [2 * size for size in sizes]
    one, two = state(together[1].run), state(alone)
    for name, value in one.items():
        # the mean: where a gradient is as small as its rounding, Adam steps by what is left of it
        assert (value.double() - two[name].double()).abs().mean() <= 1e-7, name
    assert read_report(together[1].run)["network_calls"] == read_report(alone)["network_calls"]


def broken(monkeypatch: pytest.MonkeyPatch, text: str, at: int, act: Callable[[], object]) -> None:
    """Something happens at a step of the scene with this prompt."""

    def compute(self, batch, before=TextTo3D.compute_loss):
        if batch.step == at and self.config.text == text:
            act()
        return before(self, batch)

    monkeypatch.setattr(TextTo3D, "compute_loss", compute)


def fail() -> None:
    raise RuntimeError("the cube is made of cheese")


def run_out() -> None:
    raise torch.OutOfMemoryError("CUDA error: out of memory")


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("act", "code", "text"), [(fail, 1, "made of cheese"), (run_out, 2, "error: out of memory")])
def test_a_scene_that_fails_takes_no_other_along(
    act: Callable,
    code: int,
    text: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    together = scenes(tiny, tmp_path / "all")
    with monkeypatch.context() as patched:
        broken(patched, "a blue cube", 7, act)
        assert train_scenes(together) == {"a-red-ball": 0, "a-blue-cube": code, "a-green-cone": 0}
    assert f"a-blue-cube: {text}" in (errors := capsys.readouterr().err) or text in errors
    again = reopen_scenes(tmp_path / "all", [])
    assert [scene.name for scene in again] == ["a-blue-cube"]
    assert train_scenes(again) == {"a-blue-cube": 0}
    assert reopen_scenes(tmp_path / "all", []) == []
    for scene in together[:2]:
        alone = single(tiny, tmp_path / scene.name, scene.config.text)
        assert_same(scene.run, alone)


def test_ctrl_c_stops_all_and_they_go_on(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "all"
    words = ["train", "--config", str(tiny), "--prompts", str(tmp_path / "list.txt"), "--out", str(out)]
    (tmp_path / "list.txt").write_text("\n".join(PROMPTS[:2]))
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        broken(patched, "a red ball", 6, _thread.interrupt_main)
        assert command(words) == 130
    steps = [latest_checkpoint(out / name).stem for name in ("a-red-ball", "a-blue-cube")]
    assert all("step-000005" < step < "step-000012" for step in steps)
    assert signal.getsignal(signal.SIGINT) is handler
    assert command(["train", "--resume", str(out)]) == 0
    for name, prompt in (("a-red-ball", "a red ball"), ("a-blue-cube", "a blue cube")):
        assert_same(out / name, single(tiny, tmp_path / name, prompt))
    assert command(["train", "--resume", str(out)]) == 0
    assert command(["train", "--resume", str(out / "a-red-ball")]) == 0


def test_scenes_that_do_not_fit_follow(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive, most = set(), []

    def begin(self, step, before=TextTo3D.begin_step):
        alive.add(self.config.text)
        most.append(len(alive))
        if step == 3:
            alive.discard(self.config.text)
        before(self, step)

    monkeypatch.setattr(TextTo3D, "begin_step", begin)
    together = scenes(tiny, tmp_path / "all", "trainer.max_steps=4", "output.checkpoint_interval=4")
    assert set(train_scenes(together, at_once=2).values()) == {0} and max(most) == 2
    monkeypatch.setattr("threefusion.run.scenes.free_bytes", lambda device: 1)
    alive.clear(), most.clear()
    few = scenes(tiny, tmp_path / "few", "trainer.max_steps=4", "output.checkpoint_interval=4")
    assert set(train_scenes(few).values()) == {0} and max(most) == 1
    for one, two in zip(together, few, strict=True):
        assert_same(one.run, two.run)


def test_stages_are_trained_together_too(tmp_path: Path, tiny: Path) -> None:
    staged = tmp_path / "staged.yaml"
    staged.write_text(f"extends: {tiny}\nstages:\n- {{name: coarse, steps: 4}}\n- {{name: fine, steps: 3}}\n")
    together = scenes(staged, tmp_path / "all", prompts=PROMPTS[:2])
    assert set(train_scenes(together).values()) == {0}
    for scene in together:
        assert_same_stages(scene.run, single(staged, tmp_path / scene.name, scene.config.text))


@pytest.mark.parametrize("overrides", [("guidance.type=vsd",), ("guidance.type=full-gradient", "optimizer=shampoo")], ids=str)
def test_what_is_not_batched_stays_apart(overrides: tuple[str, ...], tiny: Path, tmp_path: Path) -> None:
    small = (*overrides, "trainer.max_steps=3", "output.checkpoint_interval=3", "output.image_interval=3")
    together = scenes(tiny, tmp_path / "all", *small, prompts=PROMPTS[:2])
    threads = torch.get_num_threads()
    assert set(train_scenes(together).values()) == {0} and torch.get_num_threads() == threads
    assert_same(together[1].run, single(tiny, tmp_path / "alone", PROMPTS[1], *small))


def assert_same_stages(run: Path, other: Path) -> None:
    for stage in sorted(other.glob("stages/*")):
        assert_same(run / "stages" / stage.name, stage)


def refused(*words: str) -> str:
    with pytest.raises(UserError) as error:
        command(["train", *words])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_lists_that_are_wrong_are_refused_in_one_line(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = Path("list.txt")

    def message(content: bytes | None, *more: str, name: str = "list.txt") -> str:
        if content is not None:
            Path(name).write_bytes(content)
        return refused("--config", str(tiny), "--prompts", name, *more)

    assert message(None) == "--prompts list.txt: No such file or directory"
    assert message(b"# nothing\n\n") == "--prompts list.txt: it has no prompt; expected one per line"
    assert message(b"a ball\n\xff\n") == "--prompts list.txt: not UTF-8 text (byte 7)"
    assert message(b"- a ball\n", name="list.yaml") == (
        "--prompts list.yaml: expected a text file with a prompt per line, not YAML"
    )
    assert message(b"a ball\n\n# other\n  a ball\n") == "list.txt:4: 'a ball' is given twice, first in line 1"
    assert message(b"a ball\n", "--prompt", "a cube") == "--prompts and --prompt exclude each other"
    assert message(b"a ball\n", "prompt.text=a cube") == "prompt.text: --prompts gives it"
    assert "prompt.drop" in message(b"a ball\n", "prompt.drop={back: [cheese]}")
    assert message(b"a ball with cheese\na cube\n", "prompt.drop={back: [cheese]}").startswith("list.txt:2: 'a cube': ")
    pixel = ("guidance.prior={type: pixel}",)
    assert message(b"a red car\na quarterly report\n", *pixel).startswith("list.txt:2: ")
    assert message(b"a ball\n", "logger=wandb").startswith("logger: wandb logs one run per process")
    assert message(b"a ball\n", "trainer.devices=2").startswith("several scenes train in one process on one device")
    assert message(b"a ball\n", "--at-once", "0") == "--at-once: at least 1"
    assert refused("--config", str(tiny), "--at-once", "2").startswith("--at-once: only with --prompts FILE")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "list.yaml"] and file.exists()


def test_folders_are_refused_or_taken(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "list.txt"
    file.write_text("a ball!\na ball\n猫\n")
    words = ["--config", str(tiny), "--prompts", str(file), "--out"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    assert refused(*words, str(tmp_path / "full")).endswith("full: the folder is not empty. Name another folder")
    assert refused(*words, str(file)).endswith("list.txt: is a file. Name another folder")
    (tmp_path / "file").touch()
    with pytest.raises((UserError, OSError)):
        command(["train", *words, str(tmp_path / "file" / "below")])
    configs = [load_config(tiny, [f"prompt.text={prompt}"]) for prompt in ("a ball!", "a ball", "猫")]
    folder, made = open_scenes(configs, tmp_path / "out", "list")
    assert [scene.name for scene in made] == ["a-ball", "a-ball-2", "run"]
    assert json.loads((folder / MARKER).read_text(encoding="utf-8")) == dict(
        zip([scene.name for scene in made], ("a ball!", "a ball", "猫"), strict=True)
    )
    assert refused(*words, str(folder)) == (
        f"--out {folder}: the folder is not empty. Continue with --resume {folder}, or name another folder"
    )
    # a process that was killed before its list was written begins again
    (folder / MARKER).unlink()
    assert [scene.name for scene in open_scenes(configs, folder, "list")[1]] == ["a-ball", "a-ball-2", "run"]
    (folder / MARKER).write_text("{")
    assert refused("--resume", str(folder)).endswith("damaged; resume each run by itself")


def test_a_folder_that_cannot_be_filled_is_left_as_it_was(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path, text):
        raise UserError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("threefusion.run.scene_folder.write_atomically", full)
    with pytest.raises(UserError, match="No space left"):
        scenes(tiny, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("overrides", "at_once"), [((), None), (PIXEL, 1)], ids=["closed form", "network"])
def test_a_scene_that_stops_at_a_planned_step_goes_on_as_if_it_had_not(
    overrides: tuple[str, ...], at_once: int | None, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    together = scenes(tiny, tmp_path / "all", *overrides, prompts=PROMPTS[:2])
    assert train_scenes(together, at_once=at_once, planned=3) == {"a-red-ball": 130, "a-blue-cube": 130}
    assert "stopped at" not in capsys.readouterr().err
    for scene in together:
        assert latest_checkpoint(scene.run).stem == "step-000003" and read_report(scene.run) is None
        assert command(["train", "--resume", str(scene.run)]) == 0
        assert_same(scene.run, single(tiny, tmp_path / scene.name, scene.config.text, *overrides))
