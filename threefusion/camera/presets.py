"""Published distributions of cameras and lights: `orbital` with other defaults."""

from __future__ import annotations

from threefusion.camera.orbital import OrbitalCameras
from threefusion.camera.settings import DreamFusionCamerasConfig, ThreestudioCamerasConfig


class DreamFusionCameras(OrbitalCameras):
    """DreamFusion's cameras, lights and shading."""

    def __init__(self, cfg: DreamFusionCamerasConfig) -> None:
        super().__init__(cfg)


class ThreestudioCameras(OrbitalCameras):
    """The cameras, lights and shading of threestudio's DreamFusion configs, so that results and speeds can be compared."""

    def __init__(self, cfg: ThreestudioCamerasConfig) -> None:
        super().__init__(cfg)
