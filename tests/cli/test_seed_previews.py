"""A preview trains the beginning of full runs: they are ranked and shown, and go on as if they had not stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from threefusion.cli.main import main, run
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run.folder import latest_checkpoint, read_report
from threefusion.run.preview_folder import preview_steps
from threefusion.system.text_to_3d import TextTo3D

SMALL = ("output.image_size=8", "output.image_interval=6")


def preview(tiny: Path, out: Path, *words: str, prompt: str = "a red mushroom") -> int:
    return run(["preview", "--config", str(tiny), "--prompt", prompt, "--out", str(out), *SMALL, *words])


def refused(*words: str) -> str:
    with pytest.raises(UserError) as error:
        run(list(words))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 4 is the best, then 3, then 5, as far as the judge can tell."""
    order = {3: 0.2, 4: 0.3, 5: 0.1}
    monkeypatch.setattr(
        "threefusion.evaluate.seeds.text_scores",
        lambda config, *_: {"text_image.similarity": order[config.seed], "text_image.r_precision": 0.5},
    )


def test_seeds_are_ranked_and_shown(tiny: Path, tmp_path: Path, scored: None, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "seen <b>"
    assert preview(tiny, out, "--seeds", "3", "--steps", "4", prompt="a red <i>mushroom") == 0
    printed = capsys.readouterr()
    assert [line[:9] for line in printed.out.splitlines()[:3]] == ["1. seed 4", "2. seed 3", "3. seed 5"]
    assert "ranked by similarity: cosine similarity" in printed.out and "higher is better" in printed.out
    assert printed.out.endswith(f"Train one to its end: python launch.py train --continue-from '{out}' --seed 4\n")
    written = json.loads((out / "preview.json").read_text())
    assert [seed["run"] for seed in written["seeds"]] == ["seed-4", "seed-3", "seed-5"]
    assert (written["steps"], written["ranked_by"]) == (4, "text_image.similarity")
    page = (out / "index.html").read_text()
    places = [page.index(f'href="seed-{seed}/index.html"') for seed in (4, 3, 5)]
    assert places == sorted(places) and page.count("data:image/jpeg") == 3 and (out / "seed-4/index.html").is_file()
    assert "a red &lt;i&gt;mushroom" in page and "<i>mushroom" not in page and "by a CLIP model that did not guide" in page
    assert f"--continue-from &#x27;{out}/seed-4&#x27;".replace("<b>", "&lt;b&gt;") in page
    # one column: a sheet is twice as wide as high
    assert Image.open(out / "grid.png").size == (4 * 8 + 2 * 8, 3 * (2 * 8 + 22 + 8) + 8)


def test_a_seed_that_goes_on_ends_as_its_full_run(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert preview(tiny, tmp_path / "seen", "--seeds", "2") == 0
    assert latest_checkpoint(tmp_path / "seen/seed-4").stem == "step-000003"
    assert run(["train", "--continue-from", str(tmp_path / "seen"), "--seed", "4"]) == 0
    assert run(["train", "--continue-from", str(tmp_path / "seen/seed-3")]) == 0
    for seed in (3, 4):
        alone, went_on = tmp_path / f"alone-{seed}", tmp_path / f"seen/seed-{seed}"
        words = ["train", "--config", str(tiny), "--prompt", "a red mushroom", "--out", str(alone), *SMALL, f"seed={seed}"]
        assert run(words) == 0
        one, two = (torch.load(latest_checkpoint(path), weights_only=True) for path in (went_on, alone))
        assert all(torch.equal(one["state_dict"][name], two["state_dict"][name]) for name in two["state_dict"])
        assert (
            one["global_step"] == 12 and one["optimizer_states"][0]["state"].keys() == two["optimizer_states"][0]["state"].keys()
        )
        for name in ("metrics.csv", "config.yaml"):
            assert (went_on / name).read_bytes() == (alone / name).read_bytes()


def test_a_preview_goes_on_as_a_whole_too(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert preview(tiny, tmp_path / "seen", "--seeds", "2", "trainer.max_steps=5", "--steps", "2") == 0
    assert run(["train", "--resume", str(tmp_path / "seen")]) == 0
    assert [read_report(tmp_path / f"seen/seed-{seed}")["steps"] for seed in (3, 4)] == [5, 5]


def test_what_the_judge_does_not_know_has_no_score(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert preview(tiny, tmp_path / "seen", "--seeds", "2", "--steps", "1", prompt="a dragon") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("seed 3\nseed 4\nno score: the bundled judge knows")
    assert json.loads((tmp_path / "seen/preview.json").read_text())["ranked_by"] is None
    assert "ranked by" not in (tmp_path / "seen/index.html").read_text()


def test_a_seed_that_fails_is_left_out(
    tiny: Path, tmp_path: Path, scored: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def compute(self, batch, before=TextTo3D.compute_loss):
        if self.config.seed == 4:
            raise UserError("no such luck")
        return before(self, batch)

    monkeypatch.setattr(TextTo3D, "compute_loss", compute)
    assert preview(tiny, tmp_path / "seen", "--seeds", "3", "--steps", "1") == 1
    shown = capsys.readouterr()
    assert "1 of 3 seeds failed: seed-4" in shown.err and "--seed 3" in shown.out
    assert "best first: 3, 5" in refused("train", "--continue-from", str(tmp_path / "seen"))


def test_the_length_of_a_preview(tiny: Path, tmp_path: Path) -> None:
    config = load_config(tiny, ["trainer.max_steps=1000", "trainer.log_every_n_steps=20"])
    assert preview_steps(config, None) == 240 and preview_steps(config, 7) == 7
    assert preview_steps(load_config(tiny, ["trainer.max_steps=3"]), None) == 1
    for steps in (0, 1000):
        with pytest.raises(UserError, match=rf"--steps {steps}: expected 1 to 999"):
            preview_steps(config, steps)
    staged = tmp_path / "staged.yaml"
    staged.write_text(f"extends: {tiny}\nstages:\n- {{name: coarse, steps: 8}}\n- {{name: fine, steps: 3}}\n")
    assert preview_steps(load_config(staged, []), None) == 2
    with pytest.raises(UserError, match="expected 1 to 7; stage coarse has 8 steps"):
        preview_steps(load_config(staged, []), 8)
    with pytest.raises(UserError, match="say with --steps"):
        preview_steps(load_config(tiny, ["trainer.max_steps=-1", "trainer.max_time=00:00:01:00"]), None)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What a preview of seeds 3 and 0 leaves, as far as `train` reads it."""
    for seed in (0, 3):
        (tmp_path / f"made/seed-{seed}").mkdir(parents=True)
    listed = [{"seed": seed, "run": f"seed-{seed}"} for seed in (3, 0)]
    (tmp_path / "made/preview.json").write_text(json.dumps({"seeds": listed}))
    return tmp_path / "made"


def test_what_names_no_seed_is_refused(made: Path, tiny: Path, capsys: pytest.CaptureFixture) -> None:
    def message(*words: str) -> str:
        return refused("train", *words)

    known = ["--continue-from", str(made)]
    assert message(*known) == f"--continue-from {made}: a preview of several seeds. Choose one with --seed; best first: 3, 0"
    assert message(*known, "--seed", "9").endswith("whose seeds are, best first, 3, 0")
    assert message("--continue-from", f"{made}/seed-3", "--seed", "3").endswith("Omit --seed, or name the preview")
    assert message("--continue-from", f"{made}/seed-7").endswith("seed-7: no such folder")
    assert message("--continue-from", str(made.parent)).endswith("neither a preview nor the run of a seed of one")
    assert message("--seed", "3", "--config", str(tiny)) == "--seed 3: only with --continue-from PREVIEW. A new run takes seed=3"
    assert message(*known, "--resume", str(made)) == "--continue-from names what is trained: omit --resume and --prompts"
    assert message(*known, "--seed", "3", "--out", "x").startswith("--continue-from RUN takes its config and its folder from RUN")
    assert message(*known, "--seed", "3").endswith("not a run folder (it has no config.yaml)")
    (made / "preview.json").write_text("{")
    assert "damaged; name the run of a seed" in message(*known, "--seed", "3")
    with pytest.raises(SystemExit) as left:
        main(["train", *known])
    assert left.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_a_preview_that_cannot_be_is_refused_before_anything_is_written(tiny: Path, tmp_path: Path) -> None:
    def message(*words: str) -> str:
        with pytest.raises(UserError) as error:
            preview(tiny, tmp_path / "out", *words)
        return str(error.value)

    assert message("--seeds", "0") == "--seeds: at least 1"
    assert message("a red car").startswith("'a red car': expected key=value")
    assert message("--steps", "12").startswith("--steps 12: expected 1 to 11")
    assert message("--at-once", "0") == "--at-once: at least 1"
    assert message("trainer.devices=2").startswith("several scenes train in one process")
    assert message("--clip", str(tmp_path / "none")).endswith("expected a CLIPModel with tokenizer and preprocessor")
    assert not (tmp_path / "out").exists()
