"""A small hub on loopback: the few endpoints through which huggingface_hub lists and downloads a repository."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34


class Hub:
    """Folders served as repositories, what was downloaded of them, and files whose download breaks off.

    `broken` says after how many other downloads it does.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.downloads: list[str] = []
        self.broken: dict[str, int] = {}
        self.address = ""

    def files(self, repository: str) -> list[str]:
        folder = self.repositories[repository]
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def environment(self, home: Path) -> dict[str, str]:
        """What makes a process use this hub, with an empty cache of its own."""
        return {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


@contextmanager
def serve(repositories: dict[str, Path]) -> Iterator[Hub]:
    """The hub, while it is entered."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def answer(self, with_body: bool) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        repository, rest = "/".join(parts[2:4] if api else parts[:2]), parts[4:] if api else parts[2:]
        if repository not in self.hub.repositories:
            self.reply(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif api:
            answer = self.tree(repository) if rest[:1] == ["tree"] else self.info(repository, rest[-1])
            self.reply(200, json.dumps(answer).encode(), {})
        else:
            self.send_file(repository, "/".join(rest[2:]), rest[1], with_body)

    def info(self, repository: str, revision: str) -> dict[str, object]:
        files = [{"rfilename": name} for name in self.hub.files(repository)]
        return {
            "id": repository,
            "modelId": repository,
            "sha": revision if len(revision) == 40 else COMMIT,
            "siblings": files,
            "private": False,
            "tags": [],
        }

    def tree(self, repository: str) -> list[dict[str, object]]:
        folder = self.hub.repositories[repository]
        return [
            {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": digest(folder / name)}
            for name in self.hub.files(repository)
        ]

    def send_file(self, repository: str, name: str, revision: str, with_body: bool) -> None:
        file = self.hub.repositories[repository] / name
        if not file.is_file():
            self.reply(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{digest(file)}"', "X-Repo-Commit": revision}
        if with_body and name in self.hub.broken:
            until = time.monotonic() + 10
            while len(self.hub.downloads) < self.hub.broken[name] and time.monotonic() < until:
                time.sleep(0.01)
            self.reply(403, b"", headers)
            return
        if with_body:
            self.hub.downloads.append(name)
        self.reply(200, file.read_bytes(), headers, with_body)

    def reply(self, status: int, body: bytes, headers: dict[str, str], with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
