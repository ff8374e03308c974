"""The live page: a scene that is orbited while it is trained, beside what happens to it, made with viser."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from threefusion.machine.optional import require
from threefusion.viewer.settings import ViserConfig
from threefusion.viewer.site import Site, escaped
from threefusion.viewer.viewer import Chose, Dial, Event, Pose, Pressed, Status, Turned, Viewer

MESH = "exported mesh"
"""The channel that the browser draws by itself."""
SETTLED = 0.4
"""Seconds for which a slider has to rest before it changes anything."""
BUTTONS = {
    "Training": {"Pause": "pause", "Go on": "resume", "Stop": "stop"},
    "Now": {"Save": "save", "Export": "export"},
}
"""Rows of buttons, and what each stands for."""
Y_UP = (0.5, 0.5, 0.5, 0.5)
"""Rotation (w, x, y, z) from a GLB file's axes to the scene's."""
FEWEST = 2
"""Points of a curve that can be drawn."""


class ViserPage(Viewer):
    """A panel beside the scene: buttons, numbers, what the prior wants, curves and settings."""

    cfg: ViserConfig

    def __init__(self, cfg: ViserConfig) -> None:
        super().__init__(cfg)
        require("viser")
        self._site: Site | None = None
        self._turning: dict[str, tuple[float, float]] = {}
        """Values that sliders show, and when they got there, by setting."""

    def open(self) -> str:
        """Serve a page that says that the training will begin."""
        self._site = Site(self.cfg.host, self.cfg.port)
        self._site.server.gui.set_panel_label("threefusion")
        self._site.server.gui.add_markdown("The training has not begun: models are loaded.")
        return self._site.link

    def prepare(self, title: str, channels: Sequence[str], dials: Sequence[Dial], start: Pose) -> None:
        """Build the panel."""
        self._site.start_from(start)
        self._channels, self._mesh = list(channels), None
        gui = self._site.server.gui
        gui.reset()
        gui.set_panel_label("threefusion")
        gui.add_markdown(f"### {escaped(title)}")
        self._numbers = gui.add_markdown("")
        self._progress = gui.add_progress_bar(0.0)
        self._channel = gui.add_dropdown("Show", self._channels, initial_value=self._channels[0])
        self._channel.on_update(self._chosen)
        self._add_buttons(gui)
        tabs = gui.add_tab_group()
        with tabs.add_tab("Prior"):
            self._waiting = gui.add_markdown("What the prior is shown and what it wants appears here while somebody looks.")
            self._pictures: dict[str, Any] = {}
            self._prior = gui.add_folder("What the prior sees", visible=False)
        with tabs.add_tab("Curves"):
            self._curves: dict[str, Any] = {}
            self._plots = gui.add_folder("By step")
        with tabs.add_tab("Settings"):
            gui.add_markdown("A change holds from the next step on. It is kept in `config.yaml`, and a resume repeats it.")
            self._dials = {dial.setting: self._add_dial(gui, dial) for dial in dials}

    def take(self, seconds: float = 0.0) -> list[Event]:
        """Events of the page; sliders that rest, or all once a button is pressed."""
        events = self._site.take(seconds)
        now, pressed = time.monotonic(), any(isinstance(event, Pressed) for event in events)
        for event in events:
            if isinstance(event, Chose):
                self._switch(event.channel)
        at_rest = [name for name, (_, since) in list(self._turning.items()) if pressed or now - since >= SETTLED]
        return [Turned(name, self._turning.pop(name)[0]) for name in at_rest] + events

    def paint(self, client: int, image: np.ndarray) -> None:
        """Fill a client's window."""
        self._site.paint(client, image)

    def tell(self, status: Status) -> None:
        """Numbers as a text, the bar, and sliders that follow their schedules."""
        self._progress.value = 100.0 * status.step / status.steps if status.steps else 0.0
        self._numbers.content = as_markdown(status)
        for setting, value in status.settings.items():
            if setting in self._dials and setting not in self._turning:
                self._dials[setting].value = float(value)

    def plot(self, steps: np.ndarray, curves: Mapping[str, np.ndarray]) -> None:
        """A small chart for each."""
        gui = self._site.server.gui
        for name, values in curves.items():
            known = np.isfinite(values)
            data = (steps[known], values[known])
            if known.sum() < FEWEST:
                continue
            if name in self._curves:
                self._curves[name].data = data
                continue
            with self._plots:
                self._curves[name] = gui.add_uplot(
                    data=data,
                    series=({"label": "step"}, {"label": name, "stroke": "#2e7db4", "width": 1.5}),
                    scales={"x": {"time": False}},
                    title=name,
                    height=150,
                    legend={"show": True, "live": True},
                )

    def explain(self, pictures: Mapping[str, np.ndarray]) -> None:
        """A row of views for each."""
        self._waiting.visible, self._prior.visible = not pictures, bool(pictures)
        keys = {caption.partition(" (")[0]: caption for caption in pictures}
        for key, caption in keys.items():
            if key not in self._pictures:
                with self._prior:
                    self._pictures[key] = self._site.server.gui.add_image(pictures[caption], label=caption, format="png")
            self._pictures[key].label, self._pictures[key].image = caption, pictures[caption]

    def show_mesh(self, model: Path) -> None:
        """Offer it beside the channels."""
        shown = self._channel.value == MESH
        self._mesh = self._site.server.scene.add_glb("/mesh", model.read_bytes(), wxyz=Y_UP, visible=shown)
        self._channel.options = [*self._channels, MESH]

    def close(self) -> None:
        """Stop serving."""
        site, self._site = self._site, None
        if site is not None:
            site.close()

    def _add_buttons(self, gui: Any) -> None:
        for label, buttons in BUTTONS.items():
            gui.add_button_group(label, list(buttons)).on_click(self._pressed)

    async def _pressed(self, event: Any) -> None:
        known = {name: button for buttons in BUTTONS.values() for name, button in buttons.items()}
        if event.client_id is not None and event.target.value in known:
            self._site.put(Pressed(known[event.target.value]))

    def _add_dial(self, gui: Any, dial: Dial) -> Any:
        value = min(max(dial.value, dial.low), dial.high)
        slider = gui.add_slider(dial.setting, dial.low, dial.high, (dial.high - dial.low) / 1000, float(value))

        async def turned(event: Any) -> None:
            wanted = event.target.value
            if event.client_id is not None and isfinite(wanted) and dial.low <= wanted <= dial.high:
                self._turning[dial.setting] = wanted, time.monotonic()

        slider.on_update(turned)
        return slider

    async def _chosen(self, event: Any) -> None:
        if event.client_id is not None:
            self._site.put(Chose(event.target.value))

    def _switch(self, channel: str) -> None:
        """Show the mesh or the pictures."""
        if self._mesh is not None:
            self._mesh.visible = channel == MESH
        if channel == MESH:
            self._site.clear()


def as_markdown(status: Status) -> str:
    """The numbers of a training as lines of a table."""
    step = f"**{status.step}**" + (f" of {status.steps}" if status.steps else "")
    rows = {"step": step + (" · paused" if status.paused else "")}
    if status.rate:
        left = (status.steps - status.step) / status.rate if status.steps else 0
        rows["speed"] = f"{status.rate:.3g} steps/s" + (f" · {timedelta(seconds=round(left))} left" if status.steps else "")
    if status.phases:
        rows["a step"] = " + ".join(f"{name} {value:.3g}" for name, value in status.phases.items()) + " ms"
    if status.weights:
        rows["weights"] = " · ".join(f"{escaped(name)} {value:.4g}" for name, value in status.weights.items())
    if status.note:
        rows["last"] = escaped(status.note)
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())])
