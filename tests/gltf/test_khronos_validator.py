"""Exported files against the Khronos glTF validator.

Set THREEFUSION_GLTF_VALIDATOR to a folder in which `npm install gltf-validator` was run. `.ci/run` does, and fails if these
tests were skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from threefusion.exporter.settings import MeshExporterConfig
from threefusion.geometry.encoding.settings import FrequencyConfig
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.material.material import Material
from threefusion.material.settings import PbrConfig
from threefusion.registry import build
from threefusion.testing import small_scene
from threefusion.types import FieldSample, Lights

FOLDER = os.environ.get("THREEFUSION_GLTF_VALIDATOR", "")

pytestmark = pytest.mark.skipif(
    not FOLDER or shutil.which("node") is None,
    reason="needs node, and THREEFUSION_GLTF_VALIDATOR naming a folder in which `npm install gltf-validator` was run",
)


def validate(path: Path) -> dict[str, Any]:
    """The validator's issues: numbers of errors, warnings, infos and hints, and messages."""
    environment = os.environ | {"NODE_PATH": str(Path(FOLDER, "node_modules"))}
    command = ["node", str(Path(__file__).with_name("validate.js")), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["issues"]


class Painted(Material):
    """Every texture that there is, from the position."""

    feature_width = 3

    def needs_normal(self, shading: torch.Tensor) -> bool:
        return False

    def forward(self, sample: FieldSample, light: Lights, shading: torch.Tensor) -> torch.Tensor:
        return sample.features.sigmoid()

    def textures(self, sample: FieldSample) -> dict[str, torch.Tensor]:
        color = sample.features.sigmoid()
        made = {"base_color": color, "metallic_roughness": color}
        if sample.normal is not None:
            made["normal"] = torch.nn.functional.normalize(sample.normal + 0.5 * color, dim=-1)
        return made


CASES: dict[str, tuple[bool | PbrConfig, dict[str, Any]]] = {
    "base colour": (False, {}),
    "vertex colours": (False, {"texture": "vertex"}),
    "normal map of the fine surface": (False, {"normal_map": True, "max_faces": 400}),
    "every texture": (True, {}),
    "every texture on charts of two faces": (True, {"unwrap_seconds": 1e-3}),
    "factors": (True, {"texture": "vertex"}),
    "a physical size": (False, {"height": "0.3m", "on_floor": True}),
    "physically based": (PbrConfig(), {}),
    "physically based, vertex colours": (PbrConfig(), {"texture": "vertex"}),
}


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GLB of an untrained scene of the shipped components: Magic3D's blob in arbitrary colours."""
    painted, settings = CASES[request.param]
    material = painted if isinstance(painted, PbrConfig) else None
    scene, renderer = small_scene(geometry=DensityFieldConfig(encoding=FrequencyConfig()), material=material)
    if painted is True:
        scene.material = Painted()
    small = {"resolution": 48, "texture_size": 128, "max_faces": 3000, "views": 3, "view_size": 24, "web": True}
    exporter = build(MeshExporterConfig(**small | settings))
    return exporter.export(scene, renderer, tmp_path_factory.mktemp("gltf")).paths[0]


@pytest.mark.parametrize("name", ["model.glb", "model.web.glb"])
def test_glb_has_nothing_to_remark_on(exported: Path, name: str) -> None:
    issues = validate(exported.with_name(name))
    assert issues["messages"] == []
    assert [issues[count] for count in ("numErrors", "numWarnings", "numInfos", "numHints")] == [0, 0, 0, 0]


def test_validator_sees_damage(exported: Path, tmp_path: Path) -> None:
    """An index of the first triangle that points behind the last vertex."""
    data = bytearray(exported.read_bytes())
    length = int.from_bytes(data[12:16], "little")
    tree = json.loads(data[20 : 20 + length])
    primitive = tree["meshes"][0]["primitives"][0]
    view = tree["bufferViews"][tree["accessors"][primitive["indices"]]["bufferView"]]
    start = 28 + length + view.get("byteOffset", 0)
    data[start : start + 4] = (2**31).to_bytes(4, "little")
    damaged = tmp_path / "damaged.glb"
    damaged.write_bytes(data)
    assert validate(damaged)["numErrors"] > 0
