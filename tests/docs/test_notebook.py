"""The notebook runs from its first cell to its last, and is stored without what it has shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from doc_blocks import ROOT
from workspace import TINY

NOTEBOOK = ROOT / "examples" / "first_steps.ipynb"
SMALL = ["guidance.prior=gaussian", "guidance.prior.image_size=8", "camera.height=8", "camera.width=8", *TINY]
MESH = ["exporter.resolution=24", "exporter.texture_size=64", "exporter.views=2", "exporter.max_faces=200"]


def cells(kind: str) -> list[dict]:
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def test_no_output_is_stored() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells("code"))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", "".join(line for cell in cells("markdown") for line in cell["source"]))
    assert len(links) > 3 and [link for link in links if not (NOTEBOOK.parent / link).is_file()] == []


def test_every_cell_runs_and_shows_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source += f"\nPICTURE, SCENE = {SMALL}, {SMALL + MESH}"
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    client.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [
        [kind for output in cell.outputs for kind in output.get("data", ())]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    assert [kinds.count("image/png") for kinds in shown if "image/png" in kinds] == [2, 1, 1]
    assert any("text/html" in kinds for kinds in shown)
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.get("name") == "stdout"
    )
    assert re.search(r"\d+ triangles: .*scene/mesh/model.glb", printed) and re.search(r"mesh 0\.\d+  ellipsoid 0\.\d+", printed)
