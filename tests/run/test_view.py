"""Finished runs and meshes side by side: the page's threads are played by a list of events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from threefusion.cli.main import run
from threefusion.errors import UserError

pytest.importorskip("viser")

from threefusion.run.view import COARSE, FINE, START, Lookout, MeshPictures, names_of, open_page, sight_of
from threefusion.toyworld.objects import class_mesh
from threefusion.types import Mesh
from threefusion.viewer.channels import Pictures
from threefusion.viewer.site import Site
from threefusion.viewer.viewer import Chose, Left, Looked


class ScriptedSite(Site):
    """Gives events, one list per call, and keeps what is painted."""

    def __init__(self, *events: list) -> None:
        self.events, self.painted, self.waited = list(events), [], []

    def take(self, seconds: float = 0.0) -> list:
        self.waited.append(seconds)
        return self.events.pop(0) if self.events else []

    def paint(self, client: int, image: np.ndarray) -> None:
        self.painted.append((client, image))


class Shade:
    """Something whose picture says which channel and height were wanted."""

    def __init__(self, *channels: str) -> None:
        self.channels = channels

    def __call__(self, pose, channel: str, height: int) -> np.ndarray:
        assert channel in self.channels
        return np.full((height, height, 3), 10 * self.channels.index(channel), np.uint8)


def test_a_moving_camera_gets_coarse_pictures_and_a_resting_one_a_fine_one() -> None:
    site = ScriptedSite([Looked(1, START)], [Looked(1, START)], [], [])
    lookout = Lookout(site, {"one": Shade("colour")})
    for _ in range(4):
        lookout.turn(7.0)
    assert [(client, len(image)) for client, image in site.painted] == [(1, COARSE), (1, COARSE), (1, FINE)]
    assert site.waited[0] == site.waited[3] == 7.0 and site.waited[1] == site.waited[2] < 1


def test_a_channel_is_shown_to_everybody_and_where_it_is_missing_the_first() -> None:
    sights = {"a": Shade("colour", "depth"), "b": Shade("colour")}
    site = ScriptedSite([Looked(1, START), Looked(2, START)], [Left(2)], [Chose("depth")], [Chose("nonsense")], [Chose("colour")])
    lookout = Lookout(site, sights)
    assert lookout.channels == ("colour", "depth")
    for _ in range(5):
        lookout.turn()
    assert lookout.channel == "colour" and {client for client, _ in site.painted[:2]} == {1, 2}
    assert {client for client, _ in site.painted[2:]} == {1}
    middles = [(image[len(image) // 4, 80, 0], image[3 * len(image) // 4, 80, 0]) for _, image in site.painted[3::2]]
    assert middles == [(10, 0), (0, 0)]  # in depth and again in colour: a above, b below


def test_runs_are_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("quick/car-1", "slow/car-1", "quick/car-1")]
    assert list(names_of(paths)) == ["quick/car-1", "slow/car-1"]
    assert list(names_of(paths[:1])) == ["car-1"]


def test_a_mesh_is_seen_from_where_the_camera_stands() -> None:
    vertices, faces = class_mesh("cube", 16)
    red = torch.tensor([[1.0, 0.0, 0.0]]).expand(len(vertices), 3)
    pictures = MeshPictures(Mesh(vertices, faces, normals=torch.nn.functional.normalize(vertices, dim=-1), colors=red))
    image = pictures(START, "albedo", 32)
    assert image.shape == (32, 32, 3) and image[16, 16].tolist() == [255, 0, 0] and image[0, 0].tolist() == [255] * 3
    assert pictures.channels == ("colour", "albedo", "normals")
    assert pictures(START, "normals", 32)[16, 16, 0] > 200  # the front faces +x


def test_a_run_and_its_page(tiny: Path, tmp_path: Path) -> None:
    words = ["trainer.max_steps=1", "output.image_size=8", "output.turntable_frames=0"]
    assert run(["train", "--config", str(tiny), "--out", str(tmp_path / "run <b>"), *words]) == 0
    assert isinstance(sight_of(tmp_path / "run <b>"), Pictures)
    lookout = open_page([tmp_path / "run <b>"], "127.0.0.1", 0)
    try:
        assert lookout.site.link.startswith("http://127.0.0.1:")
        lookout.site.put(Chose("opacity"))
        lookout.turn()
        assert lookout.channel == "opacity" and "depth" in lookout.channels
    finally:
        lookout.site.close()


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    def message(*words: str) -> str:
        with pytest.raises(UserError) as error:
            run(["view", *words])
        assert "\n" not in str(error.value)
        return str(error.value)

    (tmp_path / "model.glb").write_text("no mesh")
    (tmp_path / "empty").mkdir()
    assert message(str(tmp_path / "none")).endswith("no such run folder")
    assert message(str(tmp_path / "empty")).endswith("not a run folder (it has no config.yaml)")
    assert "model.glb" in message(str(tmp_path / "model.glb"))
    assert message("RUN", "--port", "70000") == "--port: expected 0 to 65535"
