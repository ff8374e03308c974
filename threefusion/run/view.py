"""Finished runs and mesh files on one page, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from threefusion.asset.single import fitted, read_mesh
from threefusion.camera.orbit import cameras_around
from threefusion.exporter.preview import mesh_images
from threefusion.geometry.normals import vertex_normals
from threefusion.renderer.views import SHADING
from threefusion.run.results import load_scene
from threefusion.types import Mesh
from threefusion.viewer.channels import MODES, Pictures, pose_of, view_from
from threefusion.viewer.site import Site
from threefusion.viewer.tiles import tiled
from threefusion.viewer.viewer import Chose, Left, Looked, Pose

COARSE, FINE = 160, 512
"""Heights of the window's picture while the camera moves, and when it rests, in pixels."""
START = pose_of(cameras_around(torch.zeros(1), 0.26, 2.8, 0.7, (1, 1)))
"""Where people stand at first: in front, a little above."""
SETTLED = 0.3
"""Seconds without an event after which a camera rests."""


class MeshPictures:
    """Pictures of a mesh from any camera."""

    channels = tuple(MODES)

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def __call__(self, pose: Pose, channel: str, height: int) -> np.ndarray:
        """The mesh in this channel, over white, `[H, W, 3]` in 8 bits; in colour where it has no such channel."""
        mode = MODES.get(channel, "color")
        (image,) = mesh_images(self.mesh, view_from(pose, height, SHADING[mode]), mode)
        return (image.clamp(0, 1) * 255).round().byte().numpy()


class Lookout:
    """What the people at a page see: each has a camera, which is that of all tiles."""

    def __init__(self, site: Site, sights: Mapping[str, Any]) -> None:
        """`sights` are `Pictures` or `MeshPictures` by name."""
        self.site, self.sights = site, sights
        self.channels = tuple(dict.fromkeys(channel for sight in sights.values() for channel in sight.channels))
        self.channel = self.channels[0]
        self.poses: dict[int, Pose] = {}
        self.unsharp: set[int] = set()
        """Clients whose picture is a coarse one."""

    def turn(self, seconds: float = 1.0) -> None:
        """Wait for what people do, and paint what has changed: coarse pictures at once, fine ones when nothing happens."""
        changed: set[int] = set()
        for event in self.site.take(SETTLED if self.unsharp else seconds):
            match event:
                case Looked(client, pose):
                    self.poses[client] = pose
                    changed.add(client)
                case Left(client):
                    self.poses.pop(client, None)
                case Chose(channel) if channel in self.channels:
                    self.channel = channel
                    changed |= self.poses.keys()
        due, height = (changed, COARSE) if changed else (self.unsharp, FINE)
        for client in due & self.poses.keys():
            self.site.paint(client, tiled(self.shown(), self.poses[client], self.channel, height))
        self.unsharp = self.unsharp | changed if changed else set()

    def shown(self) -> dict[str, Any]:
        """The sights, those without the chosen channel in their first one."""

        def sight(pictures: Any) -> Any:
            if self.channel in pictures.channels:
                return pictures
            return lambda pose, channel, height: pictures(pose, pictures.channels[0], height)

        return {name: sight(pictures) for name, pictures in self.sights.items()}


def open_page(paths: Sequence[Path], host: str, port: int) -> Lookout:
    """Serve a page with runs and mesh files.

    Raises:
        UserError: one of them cannot be shown, or nothing can listen there.
        MissingPackageError: viser is not installed.
    """
    sights = {name: sight_of(path) for name, path in names_of(paths).items()}
    site = Site(host, port)
    lookout = Lookout(site, sights)
    site.start_from(START)
    gui = site.server.gui
    gui.set_panel_label("threefusion")
    shown = gui.add_dropdown("Show", lookout.channels, initial_value=lookout.channel)

    async def chosen(event: Any) -> None:
        if event.client_id is not None:
            site.put(Chose(event.target.value))

    shown.on_update(chosen)
    return lookout


def names_of(paths: Sequence[Path]) -> dict[str, Path]:
    """The paths by as much of their ends as tells them apart."""
    unique = list(dict.fromkeys(path.resolve() for path in paths))
    longest = max(len(path.parts) for path in unique)
    for count in range(1, longest + 1):
        names = ["/".join(path.parts[-count:]) for path in unique]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, unique, strict=True))


def sight_of(path: Path) -> Pictures | MeshPictures:
    """What a run or a mesh file looks like.

    Raises:
        UserError: neither is there, or it cannot be read.
    """
    if path.is_dir():
        _, scene, renderer, _ = load_scene(path)
        return Pictures(scene, renderer)
    mesh, _ = fitted(read_mesh(path), 1.0)
    return MeshPictures(replace(mesh, normals=vertex_normals(mesh)))
