"""The sheets of the playground's page: their measures, and that finished runs are not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import playground
from threefusion.callback.images import write_png


def test_measures_of_known_pictures() -> None:
    red, grey = torch.tensor([1.0, 0.0, 0.0]).expand(2, 4, 4, 3), torch.full((2, 4, 4, 3), 0.5)
    assert playground.saturation(red) == 1 and playground.saturation(grey) == 0
    assert playground.saturation(torch.stack([red[0], grey[0]])) == 0.5
    assert playground.diversity(red) == 0
    assert playground.diversity(torch.stack([grey[0], grey[0] + 0.2])) == pytest.approx(0.2 / 2**0.5)


def test_every_row_names_a_config_that_is_shipped() -> None:
    rows = [*playground.STEPS, *(row for sheet in playground.SHEETS.values() for row in sheet)]
    assert all((playground.CONFIGS / f"{row.config}.yaml").is_file() for row in rows)
    assert {path.stem for path in playground.CONFIGS.glob("*.yaml")} == {row.config for row in rows}


def test_sheets_are_drawn_and_finished_runs_are_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def train(arguments: list[str]) -> int:
        folder = Path(arguments[arguments.index("--out") + 1] if "--out" in arguments else arguments[2])
        started.append((arguments[1], folder.name))
        (folder / "images").mkdir(parents=True, exist_ok=True)
        if len(started) == 1:
            return 130  # interrupted by Ctrl-C
        for name in ("000010", "000020", "over-time"):
            write_png(folder / "images" / f"{name}.png", torch.rand(4, 8, 3))
        return 0

    monkeypatch.setattr(playground, "run", train)
    monkeypatch.setattr(playground, "gradient_norm", lambda row, t, images: 10 * t)
    row = playground.STEPS[0]
    with pytest.raises(SystemExit, match="interrupted"):
        row.train(tmp_path)
    sheet = playground.over_time(tmp_path)
    assert playground.over_time(tmp_path).tobytes() == sheet.tobytes()
    assert [how for how, _ in started] == ["--config", "--resume", "--config"]
    label, images = playground.measured(row, tmp_path)
    assert label.startswith("sds\nsaturation 0.") and images.shape == (2, 4, 4, 3)
