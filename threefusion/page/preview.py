"""The page of a preview: the seeds of one prompt side by side, best first. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from threefusion.machine.files import written
from threefusion.page.facts import SeedFacts
from threefusion.page.markup import Html, document, element, joined, picture_uri
from threefusion.page.scores import MEANINGS, about_score, title, value_text

GAP, CAPTION = 8, 22
"""Pixels between the pictures of a grid, and of the line above each."""
RANKS = " The seeds are ranked by it."


def as_html(prompt: str, about: str, seeds: Sequence[SeedFacts], ranked_by: str | None, commands: Mapping[int, str]) -> str:
    """The page, for the folder that holds the runs; `about` says how far they were trained, `commands` how each goes on."""
    measured = [name for name in MEANINGS if any(name in seed.scores for seed in seeds)]
    meanings = [
        element("p", element("b", title(name)), f": {about_score(name)}.{RANKS * (name == ranked_by)}") for name in measured
    ]
    cards = [_card(f"{place}. " if ranked_by else "", seed, commands[seed.seed]) for place, seed in enumerate(seeds, 1)]
    body = joined(element("h1", prompt), element("p", about), *meanings, element("div", *cards, id="seeds"))
    return document("preview", f"Seeds of {prompt}", body)


def _card(place: str, seed: SeedFacts, command: str) -> Html:
    numbers = [
        element("span", element("span", f"{title(name)} ", class_="soft"), element("b", value_text(name, value)))
        for name, value in seed.scores.items()
    ]
    link = element("a", f"seed {seed.seed}", href=f"{quote(seed.run.name)}/index.html")
    return element(
        "figure",
        element("h2", place, link),
        element("img", src=picture_uri(seed.picture), alt=f"Seed {seed.seed} from four sides, and its normals below"),
        element("p", *numbers),
        element("code", command, tabindex="0"),
    )


def write_grid(out: Path, seeds: Sequence[SeedFacts], ranked_by: str | None) -> None:
    """Write a PNG with the pictures of all seeds, in rows, under their seeds and scores."""
    from PIL import Image, ImageDraw, ImageFont

    pictures = [Image.open(seed.picture).convert("RGB") for seed in seeds]
    width, height = (max(size) for size in zip(*(picture.size for picture in pictures), strict=True))
    columns = max(1, round((len(seeds) * height / width) ** 0.5))
    rows = -(-len(seeds) // columns)
    step_x, step_y = width + GAP, height + CAPTION + GAP
    grid = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw, font = ImageDraw.Draw(grid), ImageFont.load_default(15)
    for index, (seed, picture) in enumerate(zip(seeds, pictures, strict=True)):
        x, y = GAP + index % columns * step_x, GAP + index // columns * step_y
        score = f"   {title(ranked_by)} {value_text(ranked_by, seed.scores[ranked_by])}" if ranked_by in seed.scores else ""
        draw.text((x, y), f"seed {seed.seed}{score}", fill="black", font=font)
        grid.paste(picture, (x, y + CAPTION))
    with written(out) as temporary:
        grid.save(temporary, format="png")
