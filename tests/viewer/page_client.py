"""What a browser, or something that is none, sends to the page's server."""

from __future__ import annotations

import json
import random
import socket
import struct
from contextlib import suppress

import msgspec
import viser
from websockets.sync.client import ClientConnection, connect

PROTOCOL = f"viser-v{viser.__version__}"
MESSAGES = [cls.__name__ for cls in viser._messages.Message.get_subclasses()]


def websocket(link: str, path: str | None = None, **options: object) -> ClientConnection:
    """A web socket, as the page opens it."""
    host, token = link.split("/")[2:4]
    return connect(
        f"ws://{host}/{token if path is None else path}", subprotocols=[PROTOCOL], compression=None, proxy=None, **options
    )


def camera(position: tuple[float, ...] = (2.0, 0.0, 0.0), **changes: object) -> bytes:
    """The message by which a page says where it looks from."""
    message = {
        "type": "ViewerCameraMessage", "wxyz": (0.5, -0.5, -0.5, 0.5), "position": position, "fov": 0.8, "near": 0.1, "far": 10.0,
        "image_height": 200, "image_width": 300, "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, 0.0, 1.0),
    }  # fmt: skip
    return msgspec.msgpack.encode(message | changes)


def nonsense(index: int, choose: random.Random) -> bytes | str:
    """A message that no page sends."""
    broken = [{"position": (float("nan"), 0, 0)}, {"fov": choose.choice([0, -1, 1e9])}, {"wxyz": (0, 0, 0, 0)}]
    return [
        choose.randbytes(choose.randint(0, 300)),
        msgspec.msgpack.encode({"type": choose.choice(MESSAGES), "uuid": "x", "updates": {"value": 1}}),
        camera(**choose.choice(broken)),
        json.dumps({"a": index}),
    ][index % 4]


def break_off(page: ClientConnection) -> None:
    """End a connection as a browser does that is killed."""
    with suppress(OSError):  # the server has closed it already, because of what was sent
        page.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        page.socket.shutdown(socket.SHUT_RDWR)
        page.socket.close()
