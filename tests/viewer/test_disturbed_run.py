"""A training whose page is sent nonsense, and whose browsers are killed, ends as one that nobody watches."""

from __future__ import annotations

import random
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from threefusion.config import load_config
from threefusion.messages import Message, Served, Warned, listening
from threefusion.run.folder import latest_checkpoint, new_run
from threefusion.run.training import train
from threefusion.system.text_to_3d import TextTo3D

pytest.importorskip("viser")
from page_client import break_off, camera, nonsense, websocket
from websockets.exceptions import ConnectionClosed


def disturb(link: str, sent: list[int]) -> None:
    """100 pages that look, send nonsense, and go or are killed."""
    choose = random.Random(1)
    for index in range(100):
        with websocket(link) as page, suppress(ConnectionClosed):
            page.send(camera((2.0, 0.1 * (index % 10), 0.0)))
            page.send(nonsense(index, choose))
            if index % 3 == 0:
                break_off(page)
        sent.append(index)


def test_100_pages_that_send_nonsense_change_no_bit(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, heard = [], []
    threads: list[threading.Thread] = []

    def listen(message: Message) -> None:
        heard.append(message)
        if isinstance(message, Served):
            threads.append(threading.Thread(target=disturb, args=(message.link.split()[0], sent), daemon=True))
            threads[0].start()

    def begin(self: TextTo3D, step: int, before=TextTo3D.begin_step) -> None:
        if threads:  # a share of the pages in each of the steps, however fast they are
            while len(sent) < 100 * step // 12 and threads[0].is_alive():
                threads[0].join(0.01)
        before(self, step)

    monkeypatch.setattr(TextTo3D, "begin_step", begin)
    states, rows = [], []
    for name, more in (("plain", []), ("disturbed", ["viewer={type: viser, port: 0, resolution: 32, budget: 1}"])):
        config = load_config(tiny, more)
        with new_run(config, tmp_path / name) as folder, listening(listen):
            assert train(config, folder) == 0
        states.append(torch.load(latest_checkpoint(tmp_path / name), weights_only=True)["state_dict"])
        rows.append((tmp_path / name / "metrics.csv").read_bytes())
    threads[0].join(60)
    assert len(sent) >= 90 and not [message for message in heard if isinstance(message, Warned)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]) and rows[0] == rows[1]
