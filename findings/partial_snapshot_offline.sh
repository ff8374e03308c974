#!/usr/bin/env bash
# A repository fetched with snapshot_download(allow_patterns=...), looked up later with snapshot_download(local_files_only=True).
# Expected: the folder that was fetched, as in huggingface_hub 1.21.0 and before.
# Seen: since 1.22.0 the cache remembers the repository's list of files, and the lookup raises IncompleteSnapshotError, although nothing that
# was wanted is missing. The same patterns have to be given again, or one file be looked up with try_to_load_from_cache.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cat >"$work/hub.py" <<'PYTHON'
import json
import os
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT, FILES = "a" * 40, {"config.json": b"{}", "large.bin": b"not wanted"}


class Hub(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        if self.path.startswith("/api/") and "/tree/" in self.path:
            body = json.dumps([{"type": "file", "path": n, "size": len(c), "oid": n} for n, c in FILES.items()]).encode()
        elif self.path.startswith("/api/"):
            body = json.dumps({"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": n} for n in FILES]}).encode()
        else:
            body = FILES[name]
        self.send_response(200)
        for key, value in (("ETag", f'"{name}"'), ("X-Repo-Commit", COMMIT), ("Content-Length", str(len(body)))):
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ |= {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": tempfile.mkdtemp(dir=sys.argv[1]), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
import huggingface_hub

fetched = huggingface_hub.snapshot_download("a/b", allow_patterns=["*.json"])
try:
    seen = "found" if huggingface_hub.snapshot_download("a/b", local_files_only=True) == fetched else "another folder"
except Exception as error:
    seen = type(error).__name__
again = huggingface_hub.snapshot_download("a/b", allow_patterns=["*.json"], local_files_only=True) == fetched
print(f"huggingface_hub {huggingface_hub.__version__}: {seen}; with the same patterns: {'found' if again else 'not found'}")
assert (seen, again) == (sys.argv[2], True), "behaviour has changed"
PYTHON
for case in 1.21.0:found 1.22.0:IncompleteSnapshotError 2.4.0:IncompleteSnapshotError; do
    python3 -m venv --clear "$work/venv"
    "$work/venv/bin/pip" install --quiet "huggingface_hub==${case%%:*}"
    "$work/venv/bin/python" "$work/hub.py" "$work" "${case##*:}"
done
