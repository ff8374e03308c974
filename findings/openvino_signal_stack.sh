#!/usr/bin/env bash
# The stack for signals (sigaltstack) of a thread in which openvino 2026.4.1 has compiled networks, on a processor with AMX, after all
# of its Cores have been released.
# Expected: the thread has the stack that it had before, whatever the order in which Cores end and the thread that releases them.
# Seen: it has it again only if the last Core that was made ends first. Otherwise the stack it is left with is memory that is no longer
# mapped: signals whose handlers want that stack, as Python's do, can no longer be delivered.
set -euo pipefail
if ! grep -q amx_tile /proc/cpuinfo; then
    echo "needs a processor with AMX"
    exit 0
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet numpy==2.4.6 openvino==2026.4.1
"$work/venv/bin/pip" uninstall --quiet --yes openvino-telemetry
cat > "$work/case.py" <<'PYTHON'
import ctypes
import sys
import threading
from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops


class Stack(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack():
    stack = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.start, stack.size


def is_mapped(address):
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(low, 16) <= address < int(high, 16) for low, high in ranges)


def core():
    x = ops.parameter([1, 8], np.float32)
    made = openvino.Core()
    made.compile_model(openvino.Model([ops.relu(x)], [x]), "CPU")
    return made


before = signal_stack()
cores = [core() for _ in range(1 if sys.argv[1] == "thread" else 2)]
if sys.argv[1] == "thread":
    thread = threading.Thread(target=cores.clear)
    thread.start()
    thread.join()
while cores:
    cores.pop(0 if sys.argv[1] == "order" else -1)
after = signal_stack()
print("as before" if after == before else "mapped" if is_mapped(after[0]) else "not mapped")
PYTHON
for case in "reverse:as before" "order:not mapped" "thread:not mapped"; do
    seen="$("$work/venv/bin/python" -X faulthandler "$work/case.py" "${case%%:*}")"
    echo "${case%%:*}: the stack for signals is $seen"
    [ "$seen" = "${case#*:}" ] || { echo "behaviour has changed"; exit 1; }
done
