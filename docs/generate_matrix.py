"""Writes the table of objectives and priors into docs/guidance.md: python docs/generate_matrix.py."""

from __future__ import annotations

import tempfile
from pathlib import Path

from threefusion.cli.describe import components
from threefusion.config import ConfigError, load_config
from threefusion.config.catalogue import BUILT_IN, settings_class
from threefusion.guidance.settings import DiffusionGuidanceConfig

PAGE = Path(__file__).parent / "guidance.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->\n"
NEEDED = {
    ("prior", "image-conditioned"): "image: {picture}",
    ("guidance", "dds"): "source: {picture}, source_prompt: a blue ball",
}
"""Fields without which a component cannot be used."""


def names(kind: str) -> list[str]:
    """The built-in components of a kind."""
    return [found["name"] for found in components(kind) if found["origin"] == BUILT_IN]


def has_prior(objective: str) -> bool:
    """Whether an objective is one on a diffusion prior."""
    return issubclass(settings_class("guidance", objective), DiffusionGuidanceConfig)


def refusal(objective: str, prior: str, folder: Path) -> str | None:
    """Why a run with both is refused; None if it is not."""
    picture = folder / "picture.png"
    picture.touch()
    parts = {kind: f"type: {name}" for kind, name in (("guidance", objective), ("prior", prior))}
    for (kind, name), fields in NEEDED.items():
        if parts.get(kind) == f"type: {name}":
            parts[kind] += ", " + fields.format(picture=picture)
    text = f"prompt: {{text: a red ball}}\nguidance: {{{parts['guidance']}, prior: {{{parts['prior']}}}}}\n"
    (folder / "run.yaml").write_text(text)
    try:
        load_config(folder / "run.yaml", [])
    except ConfigError as error:
        return str(error).removeprefix(str(folder / "run.yaml"))
    return None


def matrix() -> str:
    """The table, and a line for every refusal."""
    priors = names("prior")
    rows = ["| | " + " | ".join(f"`{prior}`" for prior in priors) + " |", "|---|" + ":-:|" * len(priors)]
    reasons: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for objective in sorted(names("guidance"), key=lambda name: (not has_prior(name), name)):
            cells = []
            for prior in priors:
                reason = refusal(objective, prior, Path(folder)) if has_prior(objective) else "It has no diffusion prior."
                if reason is not None and reason not in reasons:
                    reasons.append(reason)
                cells.append("●" if reason is None else str(reasons.index(reason) + 1))
            rows.append(f"| `{objective}` | " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", *(f"{i}. {reason}" for i, reason in enumerate(reasons, 1)), ""])


def replaced(page: str) -> str:
    """The page with the present table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + matrix() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
