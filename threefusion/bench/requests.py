"""Processes that carry out requests one after the other, on a socket in place of their stdin. Loads no torch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any


class Server:
    """A process that has been started to carry out requests, from the side that sends them; one request at a time."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        """`options` are those of `subprocess.Popen`."""
        self.command = tuple(command)
        self._socket, its_end = socket.socketpair()
        try:
            self._process = subprocess.Popen(self.command, stdin=its_end, **options)
        finally:
            its_end.close()
        self._received = b""

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request; a process that has ended is noticed by `answer`."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(_line(request))

    def answer(self, wait: bool) -> dict[str, Any] | None:
        """The answer to the request, None while there is none unless `wait`.

        Raises:
            Ended: the process ends without an answer.
        """
        while b"\n" not in self._received:
            try:
                part = self._socket.recv(1 << 16, 0 if wait else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                part = b""
            if not part:
                raise Ended(self._process.wait())
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._socket.close()
        self._process.wait()


class Ended(Exception):
    """A process has ended in place of an answer."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
        """Exit code; negative for the signal that killed it."""


class Client:
    """Where the requests to this process come from."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=os.dup(0))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        # what runs here must not read requests
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)

    def requests(self) -> Iterator[dict[str, Any]]:
        """Each request, until the other side closes or ends."""
        with suppress(ConnectionResetError):
            for line in self._lines:
                yield json.loads(line)

    def answer(self, **content: Any) -> None:
        """Answer the last request."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(_line(content))


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"
