#!/usr/bin/env bash
# The metadata of a 3MF file after the program's last reference to its model has gone, in lib3mf 2.5.0 for Python.
# Expected: the group of metadata keeps its model alive, as children of Python objects do, or says that the model is gone.
# Seen: the metadata of a file with two entries counts none, without an error, as soon as the last reference to the model goes:
# `read(path).GetMetaDataGroup()` is empty, `model = read(path); model.GetMetaDataGroup()` is not.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet lib3mf==2.5.0
"$work/venv/bin/python" -W error - <<'PYTHON'
import lib3mf

wrapper = lib3mf.get_wrapper()
model = wrapper.CreateModel()
for name in ("Title", "Designer"):
    model.GetMetaDataGroup().AddMetaData("", name, "text", "xs:string", True)
data = bytes(model.QueryWriter("3mf").WriteToBuffer())


def read():
    model = wrapper.CreateModel()
    model.QueryReader("3mf").ReadFromBuffer(data)
    return model


model = read()
kept, lost = model.GetMetaDataGroup().GetMetaDataCount(), read().GetMetaDataGroup().GetMetaDataCount()
print(f"entries: {kept} with a reference to the model, {lost} without")
assert (kept, lost) == (2, 0), f"behaviour has changed: {kept}, {lost}"
PYTHON
