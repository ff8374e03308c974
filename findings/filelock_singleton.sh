#!/usr/bin/env bash
# FileLock(path, is_singleton=True) of filelock, twice in one process.
# Expected: one object that can be acquired a second time, as the parameter's documentation says.
# Seen: in 3.14.0 it is one object, but constructing it again forgets that it is held, so the process waits for its own lock until the
# timeout. 3.15.1 acquires it twice.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
for case in 3.14.0:Timeout 3.15.1:acquired; do
    "$work/venv/bin/pip" install --quiet "filelock==${case%%:*}"
    "$work/venv/bin/python" - "$work/lock" "${case##*:}" <<'PYTHON'
import sys

import filelock

first = filelock.FileLock(sys.argv[1], is_singleton=True)
first.acquire()
again = filelock.FileLock(sys.argv[1], is_singleton=True)
try:
    again.acquire(timeout=0.1)
    seen = "acquired"
except filelock.Timeout:
    seen = "Timeout"
print(f"filelock {filelock.__version__}: the same object: {first is again}; the second acquire: {seen}")
assert first is again and seen == sys.argv[2], "behaviour has changed"
PYTHON
done
