"""Any text as a prompt: it is refused in one line, or reaches the views, the encoder and the saved config as written."""

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from hypothesis import given
from hypothesis import strategies as st

from threefusion.config import load_config
from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior.vocabulary import check_prompt
from threefusion.registry import build
from threefusion.run.folder import new_run_folder, open_run
from threefusion.types import Cameras

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
FRAGMENTS = st.sampled_from(
    [
        "a red car",
        "{prompt}",
        "{view}",
        "${oc.env:HOME}",
        "${a.b}",
        "\\${x}",
        "'",
        '"',
        ": ",
        "- ",
        "#",
        "!!str",
        "null",
        "017",
        "=",
        "~",
        "../",
        "{",
        "]",
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=8), max_size=6).map("".join)
ANYTHING = TEXTS | st.text(st.characters(), max_size=12)


@given(ANYTHING)
def test_a_run_folder_keeps_any_prompt_inside_its_parent(text: str) -> None:
    with TemporaryDirectory() as parent:
        try:
            config = load_config(QUICKSTART, [f"prompt.text={text}"])
            run = new_run_folder(config, Path(parent) / "run")
        except UserError as error:
            assert len(str(error).splitlines()) == 1
            return
        assert config.text == text
        assert open_run(run) == config


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(["plain", "interpolated", "binned"]), st.floats(-180, 180), st.floats(-90, 90))
def test_texts_of_any_prompt_are_whole_and_their_shares_sum_to_one(text, front, template, name, azimuth, elevation) -> None:
    extra = {} if name == "plain" else {"front": front, "template": template}
    try:
        processor = build(settings_class("prompt", name)(text=text, **extra))
    except ValueError as error:
        assert not text.strip() or "{prompt}" not in template, error
        return
    angles = (torch.tensor([math.radians(degrees)]) for degrees in (azimuth, elevation))
    views = processor(Cameras(torch.eye(4)[None], torch.ones(1), *angles, torch.ones(1), 8, 8))
    torch.testing.assert_close(views.weight.sum(1), torch.ones(1))
    assert views.weight.min() >= 0
    assert len(views.texts) == views.weight.shape[1]
    if name == "plain" or not front:
        assert text in views.texts[0]


@given(ANYTHING)
def test_the_vocabulary_check_of_any_prompt_warns_or_refuses_in_one_line(text: str) -> None:
    try:
        warnings = check_prompt("toyworld-pixel", text)
    except UserError as refusal:
        warnings = [str(refusal)]
    assert all(len(warning.splitlines()) == 1 for warning in warnings)
