#!/usr/bin/env bash
# `import openvino` 2026.4.1 in a fresh home folder, with its dependency openvino-telemetry 2025.2.0.
# Expected: importing an inference library reads files, and whatever it reports waits for a consent, as its dialog in the tools does.
# Seen: where no consent file exists, the import writes a client id into the home folder and sends an event with the version to a
# web analytics service; nothing asks or says so. Without openvino-telemetry, on which only the wheel's metadata depends, the
# import works and sends nothing.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet openvino==2026.4.1 openvino-telemetry==2025.2.0
mkdir "$work/home"
run() { env -u CI -u TF_BUILD -u JENKINS_URL HOME="$work/home" "$work/venv/bin/python" -; }
run <<'PYTHON'
import time
from pathlib import Path

from openvino_telemetry.backend.backend_ga4 import GA4Backend

sent = []
GA4Backend.send = lambda self, message: sent.append(message["events"][0]["name"])  # in place of the network
import openvino  # noqa: E402

time.sleep(1)  # it sends from a thread
written = [str(path.relative_to(Path.home())) for path in Path.home().rglob("*") if path.is_file()]
print(f"openvino {openvino.__version__}: events sent on import: {sent}; files written at home: {written}")
assert sent and written, "behaviour has changed"
PYTHON
"$work/venv/bin/pip" uninstall --quiet --yes openvino-telemetry
run <<'PYTHON'
import openvino

print("without openvino-telemetry:", openvino.Core().available_devices)
PYTHON
