#!/usr/bin/env bash
# Two writers of tensorboardX 2.6.5, one after the other in one folder, as the stages of a training open them.
# Expected: a file of events for each, whose names differ as those of torch.utils.tensorboard do (by process and counter).
# Seen: names hold the second and the host's name alone. A writer that is opened in the same second as the one before truncates
# its file, which was closed properly: its events are gone, without a warning. Stages of under a second, and tests, lose metrics.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet tensorboardX==2.6.5
"$work/venv/bin/python" - "$work" <<'PYTHON'
import struct
import sys
import time
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event


def scalars(folder):
    for file in folder.glob("events*"):
        data = file.read_bytes()
        while data:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", data[:8])
            yield from (value.tag for value in Event.FromString(data[12 : 12 + length]).summary.value)
            data = data[16 + length :]


seen = {}
for name, pause in (("at once", 0), ("two seconds later", 2)):
    folder = Path(sys.argv[1]) / name
    time.sleep(1.05 - time.time() % 1)  # early in a second
    for stage in ("first", "second"):
        with SummaryWriter(str(folder)) as writer:
            writer.add_scalar(stage, 1.0, 0)
        time.sleep(pause)
    seen[name] = sorted(scalars(folder))
    print(f"{name}: {len(list(folder.iterdir()))} file(s) with {seen[name]}")
assert seen == {"at once": ["second"], "two seconds later": ["first", "second"]}, f"behaviour has changed: {seen}"
PYTHON
