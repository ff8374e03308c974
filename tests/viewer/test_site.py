"""The page's server answers who knows its token, and survives whatever it is sent."""

from __future__ import annotations

import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from threefusion.errors import UserError
from threefusion.viewer.guard import Guard, free_port, reachable
from threefusion.viewer.site import Site, escaped, pose_of
from threefusion.viewer.viewer import Left, Looked

pytest.importorskip("viser")
import msgspec
from page_client import break_off, camera, nonsense, websocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site("127.0.0.1", 0)
    yield site
    site.close()


def link(site: Site) -> str:
    return site.link.split("\n")[0]


def get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of an HTTP request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def wait_for(site: Site, kind: type, seconds: float = 30.0):
    """The next event of this kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for event in site.take(0.1):
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__}")


def test_the_page_is_served_to_who_has_the_link(site):
    status, body, headers = get(link(site))
    assert status == 200 and "<script" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path", ["", "x/", "{token}x/", "{token}/etc/passwd", "{token}/../index.html", "{token}/index.html", "index.html"]
)
def test_other_paths_are_refused(site, path):
    token = link(site).split("/")[3]
    status, body, _ = get(link(site).replace(f"{token}/", path.format(token=token)))
    assert status == 403 and "token" in body and token not in body


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", ""])
def test_names_that_somebody_points_here_are_refused(site, host):
    assert get(link(site), Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1:1234", "[::1]:80"])
def test_a_tunnel_may_have_another_port(site, host):
    assert get(link(site), Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"])
def test_web_sockets_of_other_pages_are_refused(site, origin):
    with pytest.raises(InvalidStatus, match="403"):
        websocket(link(site), origin=origin)


def test_web_sockets_without_the_token_or_of_another_version_are_refused(site):
    with pytest.raises(InvalidStatus, match="403"):
        websocket(link(site), path="")
    host, token = link(site).split("/")[2:4]
    with pytest.raises(InvalidStatus, match="400"):
        connect(f"ws://{host}/{token}", subprotocols=["viser-v0.0.1"], proxy=None)


def test_somebody_comes_moves_gets_a_picture_and_goes(site):
    with websocket(link(site)) as page:
        page.send(camera())
        came = wait_for(site, Looked)
        assert np.allclose(came.pose.c2w[:3, 3], [2, 0, 0]) and came.pose.aspect == 1.5
        assert np.allclose(came.pose.c2w[:3, 2], [1, 0, 0], atol=1e-6)  # it looks along minus z, at the origin
        assert np.allclose(came.pose.c2w[:3, 1], [0, 0, 1], atol=1e-6)
        page.send(camera((0.0, 2.0, 0.0)))
        assert wait_for(site, Looked).client == came.client
        site.paint(came.client, np.zeros((4, 6, 3), np.uint8))
    assert wait_for(site, Left).client == came.client
    site.paint(came.client, np.zeros((4, 6, 3), np.uint8))  # into a closed window


def test_100_random_messages_and_closed_sockets_harm_nothing(site, capfd):
    choose = random.Random(0)
    for index in range(100):
        with websocket(link(site)) as page:
            page.send(nonsense(index, choose))
            if index % 3 == 0:
                break_off(page)
    assert all(isinstance(event, Left) for event in site.take(0.5))
    with websocket(link(site)) as page:
        page.send(camera())
        wait_for(site, Looked)
    assert capfd.readouterr().err == ""


def test_nobody_can_ask_viser_for_a_public_address(site, monkeypatch):
    asked = []
    monkeypatch.setattr(site.server, "request_share_url", lambda: asked.append(True))
    with websocket(link(site)) as page:
        page.send(msgspec.msgpack.encode({"type": "ShareUrlRequest"}))
        page.send(camera())
        wait_for(site, Looked)
    assert asked == []


def test_a_host_or_port_that_cannot_be_listened_at_is_named(site):
    with pytest.raises(UserError, match=r"viewer.host: .*198.51.100.1"):
        free_port("198.51.100.1", 0)
    with pytest.raises(UserError, match=r"viewer.host: 'no.such.host.invalid'"):
        free_port("no.such.host.invalid", 0)
    taken = int(link(site).split(":")[2].split("/")[0])
    assert free_port("127.0.0.1", taken) != taken


def test_the_link_says_how_to_tunnel():
    assert "ssh -L 8080:127.0.0.1:8080" in reachable("127.0.0.1", 8080, "token")
    public = reachable("0.0.0.0", 8080, "token")
    assert public.startswith("http://127.0.0.1:8080/token/") and "not encrypted" in public and "ssh -L" in public


def test_at_another_address_hosts_are_addresses_or_the_machines_name():
    guard = Guard("0.0.0.0")
    names = ("192.0.2.7:80", socket.gethostname(), "evil.example")
    assert [guard.knows(name) for name in names] == [True, True, False]
    assert guard.refusal("/", {"Host": "192.0.2.7"}) and not guard.refusal(f"/{guard.token}/", {"Host": "192.0.2.7"})


def test_nonsense_cameras_are_no_poses():
    good = {"wxyz": (1, 0, 0, 0), "position": (0, 0, 1), "fov": 1.0, "image_height": 10, "image_width": 20}
    assert pose_of(SimpleNamespace(**good)).aspect == 2
    for change in (
        {"wxyz": (0, 0, 0, 0)},
        {"position": (0, float("inf"), 0)},
        {"fov": 4.0},
        {"image_height": 0},
        {"image_width": 10**9},
    ):
        assert pose_of(SimpleNamespace(**good | change)) is None


def test_texts_are_shown_as_they_are():
    assert escaped("a *b* <i>") == "a &#42;b&#42; &#60;i&#62;"
