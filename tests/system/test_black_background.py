"""The objective clip draws backgrounds of its own and refuses a scene's."""

from pathlib import Path

import pytest

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.system.build import build_system

CONFIG = Path(__file__).parents[2] / "configs" / "dreamfields-tiny.yaml"


@pytest.mark.parametrize(
    "background", ["background.color=#ffffff", "background.random_probability=0.5", "background.type=environment"]
)
def test_another_background_is_refused(background):
    with pytest.raises(UserError, match="over black: set background="):
        build_system(load_config(CONFIG, [background, "guidance.crops=1"]))
    build_system(load_config(CONFIG, [background, "guidance.crops=1", "guidance.backgrounds=false"]))
