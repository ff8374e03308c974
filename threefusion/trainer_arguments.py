"""`trainer.*` checked against the signature of the installed Lightning, which is read and not imported: that takes seconds."""

from __future__ import annotations

import ast
import typing
from functools import lru_cache
from typing import Any

from threefusion.config import ConfigError
from threefusion.document import Node, Place
from threefusion.source import locate, read
from threefusion.suggest import did_you_mean
from threefusion.values import convert

OWNED = {
    "logger": "use the section `logger`",
    "callbacks": "use the section `output`",
    "default_root_dir": "use --out",
    "max_epochs": "use trainer.max_steps",
    "enable_checkpointing": "use output.checkpoint_interval",
    "enable_progress_bar": "the run shows its own",
    "enable_model_summary": "the run says what matters",
    "use_distributed_sampler": "views are shared out by the run itself",
}
"""Arguments that the run decides, with what to use instead."""


class _Known(dict):
    """Names that annotations of simple arguments use; everything else is Lightning's own and may be anything."""

    def __missing__(self, name: str) -> Any:
        return Any


@lru_cache(maxsize=1)
def trainer_signature() -> dict[str, Any]:
    """Argument names of `pytorch_lightning.Trainer` with their types, as far as a config can give them.

    Raises:
        UserError: Lightning is not installed.
    """
    path = locate("pytorch_lightning.trainer.trainer")
    if path is None:
        raise ConfigError(
            "trainer: pytorch_lightning is not installed. Install it with: python -m pip install pytorch-lightning", "trainer"
        )
    cls = read("pytorch_lightning.trainer.trainer", path).bindings["Trainer"]
    constructor = next(node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    forms = {name: getattr(typing, name) for name in ("Optional", "Union", "Literal")}
    known = _Known(forms | {kind.__name__: kind for kind in (bool, int, float, str, list, dict)})
    return {argument.arg: _type(argument.annotation, known) for argument in constructor.args.kwonlyargs}


def _type(annotation: ast.expr | None, known: _Known) -> Any:
    try:
        return eval(ast.unparse(annotation), {}, known) if annotation else Any
    except TypeError:  # a generic of Lightning's own
        return Any


def trainer_argument(name: str, node: Node, place: Place) -> Any:
    """The value of `trainer.<name>`.

    Raises:
        ConfigError: no such argument, one that the run decides, or a value of the wrong type.
    """
    signature = trainer_signature()
    if name in OWNED and name in signature:
        raise ConfigError(f"trainer.{name}: not to be set here: {OWNED[name]}", place)
    if name not in signature:
        raise ConfigError(f"trainer.{name}: no such argument of pytorch_lightning.Trainer{did_you_mean(name, signature)}", place)
    return convert(node, signature[name], f"trainer.{name}")
