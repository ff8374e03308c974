"""Run by the Python of Blender: `python blender.py FOLDER OUT SETTINGS` draws every file that it imports as specimen.py does."""

import json
import sys
from pathlib import Path

import bpy
from mathutils import Vector

IMPORTERS = {
    ".glb": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    ".obj": lambda path: bpy.ops.wm.obj_import(filepath=path),
    ".ply": lambda path: bpy.ops.wm.ply_import(filepath=path),
    ".stl": lambda path: bpy.ops.wm.stl_import(filepath=path),
    ".usdz": lambda path: bpy.ops.wm.usd_import(filepath=path),
}
"""Of Blender's own; none reads 3MF."""


def draw(path: Path, out: Path, settings: dict) -> dict:
    """Import a file into an empty scene as Blender does by itself, and render it in white light from everywhere."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    IMPORTERS[path.suffix](str(path))
    scene, meshes = bpy.context.scene, [item for item in bpy.data.objects if item.type == "MESH"]
    bpy.context.view_layer.update()
    corners = [item.matrix_world @ Vector(corner) for item in meshes for corner in item.bound_box]
    low, high = (Vector([choose(corner[axis] for corner in corners) for axis in range(3)]) for choose in (min, max))
    found = sorted({kind for item in meshes for kind in contents(item.data)})
    for item in meshes:
        if not item.data.materials or not item.data.materials[0].use_nodes:
            show_colors(item.data)
    light(scene)
    middle, half = (low + high) / 2, settings["half"] * (high - low).z / settings["height"]
    front, left, up = settings["from"]
    # the front is at -y, and the left at +x
    direction = Vector((left, -front, up)).normalized()
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    camera.data.type, camera.data.ortho_scale, camera.data.clip_end = "ORTHO", 2 * half, 100 * half
    camera.data.clip_start = 0.01 * half
    camera.location, camera.rotation_euler = middle + 20 * half * direction, direction.to_track_quat("Z", "Y").to_euler()
    scene.camera = camera
    scene.render.resolution_x = scene.render.resolution_y = settings["size"]
    scene.render.filepath = str(out)
    bpy.ops.render.render(write_still=True)
    return {"size": list(high - low), "floor": low.z, "found": found}


def contents(mesh: bpy.types.Mesh) -> list[str]:
    """Attributes of a mesh, and inputs of its materials that come from a texture or an attribute."""
    kinds = ["uv"] * bool(mesh.uv_layers) + ["color"] * bool(mesh.color_attributes) + ["normal"] * mesh.has_custom_normals
    for material in mesh.materials:
        for node in material.node_tree.nodes if material.use_nodes else []:
            if node.type == "BSDF_PRINCIPLED":
                kinds += [socket.name for socket in node.inputs if socket.is_linked]
    return kinds


def show_colors(mesh: bpy.types.Mesh) -> None:
    """A material that shows the vertex colours, which Blender imports without one."""
    material = bpy.data.materials.new("colors")
    material.use_nodes = True
    mesh.materials.clear()
    mesh.materials.append(material)
    if mesh.color_attributes:
        nodes = material.node_tree.nodes
        reader = nodes.new("ShaderNodeVertexColor")
        reader.layer_name = mesh.color_attributes[0].name
        surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
        material.node_tree.links.new(reader.outputs["Color"], surface.inputs["Base Color"])


def light(scene: bpy.types.Scene) -> None:
    """White light, colours as they are, few samples."""
    world = bpy.data.worlds.new("white")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    scene.world = world
    scene.render.engine = "CYCLES"
    scene.cycles.samples, scene.cycles.device, scene.cycles.max_bounces = 16, "CPU", 1
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"


def main() -> None:
    """All files that Blender imports."""
    folder, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    facts = {}
    for name in settings["files"]:
        if Path(name).suffix in IMPORTERS:
            facts[name] = draw(folder / name, out / f"{name.replace('/', '-')}.png", settings)
    (out / "facts.json").write_text(json.dumps({"version": bpy.app.version_string, "files": facts}))


main()
