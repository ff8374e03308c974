"""A viser server on which scenes are looked at: who looks from where, and their pictures. Knows nothing of a training."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from math import pi
from typing import TYPE_CHECKING, Any

import numpy as np

from threefusion.machine.optional import require
from threefusion.viewer.guard import Guard, checked_requests, free_port, reachable
from threefusion.viewer.viewer import Event, Left, Looked, Pose

if TYPE_CHECKING:
    import viser

WAITING = 1000
"""Events that wait at most; more are dropped."""
FARTHEST = 1e4
"""Coordinates of a camera beyond which a message is taken for nonsense."""
OPENGL = np.array([1.0, -1.0, -1.0])
"""Signs of the columns that turn OpenCV's axes into OpenGL's."""


class Site:
    """A page with a token in its link. Its threads do nothing but put events into a queue."""

    def __init__(self, host: str, port: int) -> None:
        """Begin to serve.

        Raises:
            MissingPackageError: viser is not installed.
            UserError: nothing can listen there.
        """
        viser = require("viser")
        self._guard, self._news = Guard(host), threading.Condition()
        self._looks: dict[int, Pose] = {}
        self._events: list[Event] = []
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # connections that break off are nothing to report
        port = free_port(host, port)
        with quiet(), checked_requests(self._guard, f"viser-v{viser.__version__}"):
            self.server: viser.ViserServer = viser.ViserServer(host, port, verbose=False)
        self._shut_in()
        self.link = reachable(host, self.server.get_port(), self._guard.token)
        self.server.gui.configure_theme(
            show_logo=False, show_share_button=False, control_width="large", brand_color=(46, 125, 180)
        )
        self.server.scene.set_up_direction("+z")
        self.server.on_client_connect(self._came)
        self.server.on_client_disconnect(self._went)

    def start_from(self, pose: Pose) -> None:
        """The camera that people begin with, and come back to; it looks at the origin."""
        camera = self.server.initial_camera
        camera.position, camera.look_at, camera.fov = tuple(pose.c2w[:3, 3]), (0.0, 0.0, 0.0), pose.fovy

    def put(self, event: Event) -> None:
        """Let an event wait for `take`; callable from every thread."""
        with self._news:
            if len(self._events) < WAITING:
                self._events.append(event)
            self._news.notify()

    def take(self, seconds: float = 0.0) -> list[Event]:
        """All events, of each camera's movements the last; waits up to `seconds` for one."""
        with self._news:
            if seconds and not self._events and not self._looks:
                self._news.wait(seconds)
            events, looks, self._events, self._looks = self._events, self._looks, [], {}
        return [Looked(client, pose) for client, pose in looks.items()] + events

    def paint(self, client: int, image: np.ndarray | None) -> None:
        """Fill a client's window with an image `[H, W, 3]` in 8 bits, or with nothing."""
        handle = self.server.get_clients().get(client)
        if handle is not None:
            handle.scene.set_background_image(image, format="jpeg", jpeg_quality=85)

    def clear(self) -> None:
        """Fill all windows with nothing."""
        for client in self.server.get_clients():
            self.paint(client, None)

    def close(self) -> None:
        """Stop serving."""
        with quiet():
            self.server.stop()

    def _shut_in(self) -> None:
        """Refuse what viser would do at a client's request: a tunnel to a public server; and report no broken message."""
        from viser import _messages

        server = self.server._websock_server
        for message in (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect):
            server.unregister_handler(message)
        loop = self.server.get_event_loop()
        loop.call_soon_threadsafe(loop.set_exception_handler, lambda loop, context: None)

    async def _came(self, client: viser.ClientHandle) -> None:
        client.camera.on_update(self._moved)
        await self._moved(client.camera)

    async def _went(self, client: viser.ClientHandle) -> None:
        with self._news:
            self._looks.pop(client.client_id, None)
        self.put(Left(client.client_id))

    async def _moved(self, camera: viser.CameraHandle) -> None:
        pose = pose_of(camera)
        if pose is not None:
            with self._news:
                self._looks[camera.client.client_id] = pose
                self._news.notify()


def pose_of(camera: Any) -> Pose | None:
    """A camera of viser as a pose; None for nonsense."""
    numbers = np.array([*camera.wxyz, *camera.position, camera.fov, camera.image_height, camera.image_width], dtype=float)
    w, x, y, z, *position, fovy, height, width = numbers
    length = np.sqrt(w * w + x * x + y * y + z * z)
    if not np.isfinite(numbers).all() or not 0.5 < length < 2 or np.abs(position).max() > FARTHEST:
        return None
    if not 0.01 < fovy < 0.95 * pi or height < 1 or not 0.05 < width / height < 20:
        return None
    w, x, y, z = (number / length for number in (w, x, y, z))
    c2w = np.eye(4)
    c2w[:3, :3] = OPENGL * np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    c2w[:3, 3] = position
    return Pose(c2w, float(fovy), float(width / height))


def escaped(text: str) -> str:
    """A text that Markdown shows as it is: every character that could mean something as a number."""
    return "".join(char if char.isalnum() or char == " " else f"&#{ord(char)};" for char in text)


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which viser prints nothing: the run says where the page is."""
    import rich

    print_, rich.print = rich.print, lambda *_, **__: None
    try:
        yield
    finally:
        rich.print = print_
