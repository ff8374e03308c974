"""Writes messages.txt anew: `python tests/config/regenerate.py`.

Read the difference before committing it: error text is an interface.
"""

import os
import shutil
import tempfile
from pathlib import Path

from cases import BROKEN, PARENT

from threefusion.config import ConfigError, load_config

HERE = Path(__file__).parent


def message(text: str, overrides: list[str]) -> str:
    """What `check child.yaml …` says in the current directory, or nothing."""
    Path("child.yaml").write_text(text, encoding="utf-8")
    try:
        load_config(Path("child.yaml"), overrides)
    except ConfigError as error:
        return str(error)
    return ""


def messages() -> str:
    """All messages, each under its name."""
    Path("parent.yaml").write_text(PARENT, encoding="utf-8")
    return "".join(f"# {name}\n{message(text, overrides)}\n" for name, text, overrides in BROKEN)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE / "data", folder, dirs_exist_ok=True)
        os.chdir(folder)
        (HERE / "messages.txt").write_text(messages(), encoding="utf-8")
