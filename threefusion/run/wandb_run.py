"""Starting a run in Weights & Biases. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from threefusion.config.sections import WandbConfig
from threefusion.errors import UserError, first_line
from threefusion.machine.files import write_atomically
from threefusion.machine.optional import require


def start_wandb(cfg: WandbConfig, folder: Path, config: dict[str, Any], **defaults: Any) -> Any:
    """The W&B run of `folder`, the same one each time; the client's environment variables come before `defaults`.

    Raises:
        UserError: the client refuses, for example without a login.
    """
    wandb = require("wandb")
    os.environ.setdefault("WANDB_SILENT", "true")
    known = folder / "wandb" / "id"
    defaults = {"project": "threefusion", "name": folder.name, "dir": folder} | defaults
    variables = {"job_type": "WANDB_JOB_TYPE", **{name: f"WANDB_{name.upper()}" for name in defaults}}
    options = {name: value for name, value in defaults.items() if not os.environ.get(variables[name])} | cfg.given()
    if known.exists():
        options["id"] = known.read_text(encoding="utf-8")
    try:
        run = wandb.init(**options, config=config, resume="allow")
    except wandb.errors.Error as error:
        raise UserError(f"logger: W&B: {first_line(error).rstrip('.')}. Run `wandb login`, or set logger.mode=offline") from error
    if not run.disabled:
        known.parent.mkdir(exist_ok=True)
        write_atomically(known, run.id)
    return run
