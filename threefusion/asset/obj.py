"""Other base-colour textures for an OBJ: its text stays, its material library changes."""

from __future__ import annotations

from pathlib import Path

from threefusion.asset.source import named_files, source_files

REPLACED = ("map_kd", "map_ka", "kd", "ka")
"""Lines of a material that the new texture takes the place of."""


def patch_obj(path: Path, pictures: dict[str, bytes]) -> dict[str, bytes]:
    """The OBJ with other textures, by the name of the material, and all that it refers to, by file name, it first.

    A material that no library has gets a library of its own; a text without materials gets the two lines that name them.
    """
    files = source_files(path)
    text = files[path.name]
    libraries = [name for name in named_files(text, "mtllib") if name in files]
    left = dict(pictures)
    for name in libraries:
        files[name] = _repaint(files[name], path.stem, left, files)
    if left:
        made = "".join(f"newmtl {name}\n" for name in left).encode()
        library = f"{path.stem}-textures.mtl"
        files[library] = _repaint(made, path.stem, left, files)
        head = f"mtllib {library}\n"
        if not named_files(text, "usemtl"):
            head += f"usemtl {next(iter(pictures))}\n"
        files[path.name] = head.encode() + text
    return files


def _repaint(library: bytes, stem: str, left: dict[str, bytes], files: dict[str, bytes]) -> bytes:
    """A material library with the textures of those of its materials that are `left`, which is emptied of them."""
    lines, inside = [], False
    for line in library.decode("utf-8", "surrogateescape").splitlines(keepends=True):
        key, _, value = line.strip().partition(" ")
        if key == "newmtl":
            name = value.strip()
            inside = name in left
            lines.append(line if line.endswith("\n") else line + "\n")
            if inside:
                picture = f"{stem}-{len(files)}.png"
                files[picture] = left.pop(name)
                # viewers multiply the texture by the diffuse colour
                lines.append(f"Kd 1 1 1\nmap_Kd {picture}\n")
        elif not (inside and key.lower() in REPLACED):
            lines.append(line)
    return "".join(lines).encode("utf-8", "surrogateescape")
