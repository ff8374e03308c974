"""Who may talk to the page: every request is checked before the page's server sees it."""

from __future__ import annotations

import hmac
import http
import ipaddress
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from threefusion.errors import UserError

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; connect-src 'self' ws: wss: data: blob:; frame-ancestors 'none'; form-action 'none'"
)
"""What the page may load: itself. viser's client is one file with inlined scripts, workers and fonts."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LARGEST = 2**20
"""Bytes of the largest message that is read."""


class Guard:
    """The token of a page, and the checks of a request's path, host and origin.

    The token is a part of the path, which a browser sends with every request and opens the web socket with. A page of another
    site cannot know it, nor read it: the host must be an address of this machine, not a name that somebody can point here (DNS
    rebinding), and a browser's web socket must come from the page itself.
    """

    def __init__(self, host: str) -> None:
        self.token = secrets.token_urlsafe(24)
        self.is_local = host in LOCAL
        self.names = LOCAL if self.is_local else LOCAL | {host, socket.gethostname().lower()}

    def refusal(self, path: str, headers: Any) -> tuple[http.HTTPStatus, str] | None:
        """Why a request is refused; None if it is not.

        Args:
            path: the request's path.
            headers: its headers, with `get`.
        """
        host = headers.get("Host") or ""
        if not self.knows(host):
            return http.HTTPStatus.FORBIDDEN, "this host name is not served here"
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return http.HTTPStatus.FORBIDDEN, "this origin is not served here"
        given, _, rest = path.partition("?")[0].removeprefix("/").partition("/")
        if not hmac.compare_digest(given.encode(), self.token.encode()) or rest:
            return http.HTTPStatus.FORBIDDEN, "open the whole link that the training has printed: the token is missing or wrong"
        return None

    def knows(self, host: str) -> bool:
        """Whether a Host header names this machine, whatever the port: a tunnel may have another one."""
        name = re.sub(r":\d+$", "", host).strip("[]").lower()
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self.is_local


@contextmanager
def checked_requests(guard: Guard, subprotocol: str) -> Iterator[None]:
    """In the block, a server that viser starts answers requests only if `guard` lets them pass.

    viser has no hook for this: it calls `serve` of websockets, which is replaced while the server is started.

    Raises:
        UserError: this version of viser calls something else; its server would be open to everybody.
    """
    import websockets.asyncio.server as module
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    serve, used = module.serve, []

    def answer(status: http.HTTPStatus, text: str) -> Response:
        body = f"{text}\n".encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body)), **HEADERS}
        return Response(status, status.phrase, Headers(**headers), body)

    def guarded(*arguments: Any, process_request: Callable, **options: Any) -> Any:
        used.append(True)

        def process(connection: Any, request: Any) -> Response | None:
            if refused := guard.refusal(request.path, request.headers):
                return answer(*refused)
            if request.headers.get("Upgrade", "").lower() == "websocket":
                wanted = [word.strip() for word in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
                return None if subprotocol in wanted else answer(http.HTTPStatus.BAD_REQUEST, "another version of the page")
            request.path = "/"
            response = process_request(connection, request)
            for name, value in HEADERS.items():
                response.headers[name] = value
            return response

        return serve(*arguments, process_request=process, **options | {"max_size": LARGEST})

    module.serve = guarded
    try:
        yield
    finally:
        module.serve = serve
    if not used:
        raise UserError("viewer: this version of viser starts its server in another way. Install viser 1.1")


def free_port(host: str, port: int) -> int:
    """The first free port from `port` on.

    Raises:
        UserError: nothing can listen at this host, or all ports are taken.
    """
    for candidate in range(port, min(port + 100, 65536)) if port else [0]:
        try:
            family, _, _, _, address = socket.getaddrinfo(host, candidate, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return probe.getsockname()[1]
        except socket.gaierror as error:
            raise UserError(f"viewer.host: {host!r} is no address of this machine ({error})") from error
        except OSError as error:
            problem = error
            if error.errno not in (13, 98, 48):  # permission, taken (Linux), taken (macOS)
                raise UserError(f"viewer.host: cannot listen at {host!r} ({error})") from error
    raise UserError(f"viewer.port: none from {port} on is free ({problem})")


def reachable(host: str, port: int, token: str) -> str:
    """The link, and how to reach it from elsewhere."""
    name, machine = ("127.0.0.1" if host in ("0.0.0.0", "::", "") else host), socket.gethostname()
    name = f"[{name}]" if ":" in name else name
    link = f"http://{name}:{port}/{token}/"
    if host in LOCAL:
        return f"{link}\nfrom another machine: ssh -L {port}:{name}:{port} USER@{machine}, then open the link there"
    return (
        f"{link}\nwhoever has the link can see and stop this run, and it is not encrypted. Safer: viewer.host=127.0.0.1 and "
        f"ssh -L {port}:127.0.0.1:{port} USER@{machine}"
    )
