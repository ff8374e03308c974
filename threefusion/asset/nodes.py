"""Nodes of a glTF file: where each mesh is in the file's world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from threefusion.asset.accessors import read_array, read_floats
from threefusion.asset.container import Container


@dataclass(frozen=True)
class MeshNode:
    """A mesh at a node."""

    name: str
    mesh: int
    matrix: np.ndarray
    """To the file's world, `[4, 4]`, for columns."""
    joints: np.ndarray | None
    """Matrices of the joints of its skin, `[J, 4, 4]`, which take the place of `matrix`."""
    weights: list[float]
    """Of the morph targets."""


def mesh_nodes(container: Container) -> list[MeshNode]:
    """The nodes with meshes of the file's scene, depth first.

    Raises:
        UserError: a node has two parents, or is its own.
    """
    nodes, matrices = container.entries("nodes"), {}
    stack = [(root, np.eye(4)) for root in reversed(_roots(container))]
    while stack:
        index, parent = stack.pop()
        node = container.entry("nodes", index)
        if index in matrices:
            raise container.error(f"damaged: node {index} is a child of two nodes, or of itself")
        matrices[index] = parent @ _local(container, node)
        children = node.get("children", [])
        if not isinstance(children, list):
            raise container.error(f"damaged: the children of node {index} are no list")
        stack += [(child, matrices[index]) for child in reversed(children)]
    made = [_mesh_node(container, index, nodes[index], matrices) for index in matrices if "mesh" in nodes[index]]
    if not all(np.isfinite(node.matrix).all() for node in made):
        raise container.error("damaged: the transform of a node is not finite")
    return made


def posed(
    container: Container, node: MeshNode, primitive: dict[str, Any], positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices in the file's world in double precision, and the linear map of each one, `[1 or V, 3, 3]`."""
    points = positions.astype(np.float64)
    for weight, target in zip(node.weights, primitive.get("targets", []), strict=False):
        if weight and isinstance(target, dict) and "POSITION" in target:
            points = points + weight * read_floats(container, target["POSITION"], "VEC3")
    matrix, attributes = node.matrix[None], primitive["attributes"]
    if node.joints is not None and {"JOINTS_0", "WEIGHTS_0"} <= attributes.keys():
        joints = read_array(container, attributes["JOINTS_0"], "VEC4")
        weights = read_floats(container, attributes["WEIGHTS_0"], "VEC4")
        if not len(joints) == len(weights) == len(points) or (len(joints) and int(joints.max()) >= len(node.joints)):
            raise container.error("damaged: a skinned mesh refers to joints that its skin lacks")
        matrix = sum(weights[:, k, None, None] * node.joints[joints[:, k].astype(np.int64)] for k in range(4))
    return (matrix[:, :3, :3] @ points[:, :, None])[..., 0] + matrix[:, :3, 3], matrix[:, :3, :3]


def _roots(container: Container) -> list[Any]:
    """The nodes of the scene that a viewer shows; without scenes, those that are no children."""
    if container.entries("scenes"):
        roots = container.entry("scenes", container.tree.get("scene", 0)).get("nodes", [])
    else:
        nodes = container.entries("nodes")
        children = {child for node in nodes if isinstance(node, dict) for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in children]
    if not isinstance(roots, list):
        raise container.error("damaged: the nodes of its scene are no list")
    return roots


def _local(container: Container, node: dict[str, Any]) -> np.ndarray:
    """The transform of a node relative to its parent."""
    if "matrix" in node:
        return _numbers(container, node, "matrix", [0.0] * 16).reshape(4, 4).T
    x, y, z, w = _numbers(container, node, "rotation", [0.0, 0.0, 0.0, 1.0])
    length = x * x + y * y + z * z + w * w
    s = 2 / length if length else 0.0
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    matrix[:3, :3] *= _numbers(container, node, "scale", [1.0, 1.0, 1.0])
    matrix[:3, 3] = _numbers(container, node, "translation", [0.0, 0.0, 0.0])
    return matrix


def _numbers(container: Container, entry: dict[str, Any], key: str, default: list[float]) -> np.ndarray:
    """A list of finite numbers, as many as the default has."""
    values = entry.get(key, default)
    if not isinstance(values, list) or len(values) != len(default) or not all(type(v) in (int, float) for v in values):
        raise container.error(f"damaged: {key} is no list of {len(default)} numbers")
    try:
        return np.array(values, np.float64)
    except OverflowError:
        raise container.error(f"damaged: {key} has numbers that are too large") from None


def _mesh_node(container: Container, index: int, node: dict[str, Any], matrices: dict[int, np.ndarray]) -> MeshNode:
    mesh = container.entry("meshes", node["mesh"])
    names = str(node.get("name") or f"node {index}"), str(mesh.get("name") or f"mesh {node['mesh']}")
    joints = _joints(container, container.entry("skins", node["skin"]), matrices) if "skin" in node else None
    weights = node.get("weights", mesh.get("weights", []))
    return MeshNode("/".join(names), node["mesh"], matrices[index], joints, list(map(float, weights)))


def _joints(container: Container, skin: dict[str, Any], matrices: dict[int, np.ndarray]) -> np.ndarray | None:
    """The matrices of a skin's joints in the pose of the file; None if some are outside its scene."""
    bones = [matrices.get(bone) for bone in skin.get("joints", [])]
    if not bones or any(bone is None for bone in bones):
        return None
    joints = np.stack(bones)
    if "inverseBindMatrices" not in skin:
        return joints
    inverse = read_floats(container, skin["inverseBindMatrices"], "MAT4").astype(np.float64)
    if len(inverse) < len(joints):
        raise container.error("damaged: a skin has fewer inverse bind matrices than joints")
    return joints @ inverse[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
