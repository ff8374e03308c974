"""Run by a Python that has PyMeshLab: `python meshlab.py FOLDER OUT SETTINGS` counts open and non-manifold edges of files."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pymeshlab

COUNTS = ("boundary_edges", "non_two_manifold_edges", "non_two_manifold_vertices", "connected_components_number")


def main() -> None:
    """The formats whose surfaces are closed; STL has no indices, so that equal positions are merged first."""
    folder, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    facts = {}
    for name in settings["files"]:
        if Path(name).suffix in (".obj", ".ply", ".stl", ".3mf"):
            meshes = pymeshlab.MeshSet()
            meshes.load_new_mesh(str(folder / name))
            if name.endswith(".stl"):
                meshes.meshing_merge_close_vertices(threshold=pymeshlab.PureValue(0))
            measures = meshes.get_topological_measures()
            facts[name] = {count: measures[count] for count in COUNTS}
    (out / "facts.json").write_text(json.dumps({"version": version("pymeshlab"), "files": facts}))


main()
