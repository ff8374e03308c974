"""Optimisers with one parameter group per named component."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, ClassVar

import torch
import yaml
from torch import Tensor, nn

from threefusion.component import Component
from threefusion.errors import UserError
from threefusion.geometry.geometry import Rewrite
from threefusion.optimizer.settings import AdamConfig, OptimizerConfig


class OptimizerFactory(Component):
    """Makes the optimiser of everything that is trained; its learning rates are pure functions of the step."""

    kind: ClassVar[str] = "optimizer"
    follows_rows: ClassVar[bool] = True
    """Whether `rewrite` can be called: the state of a parameter consists of tensors of its shape, and of numbers."""

    @abstractmethod
    def create(self, trained: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over every trainable parameter of `trained`, with `initial_lr` in each group."""

    @abstractmethod
    def scale(self, step: int) -> float:
        """The factor of every group's initial learning rate at `step`."""

    @torch.no_grad()
    def rewrite(self, optimizer: torch.optim.Optimizer, module: nn.Module, rewrite: Rewrite) -> None:
        """Replace parameters of `module` as `rewrite` says, in the module and in the optimiser.

        The state of the rows that are kept goes with them; that of new rows is 0.
        """
        for name, new in rewrite.new.items():
            owner, _, leaf = name.rpartition(".")
            old = module.get_parameter(name)
            parameter = nn.Parameter(torch.cat([old[rewrite.keep], new]))
            setattr(module.get_submodule(owner), leaf, parameter)
            for group in optimizer.param_groups:
                group["params"] = [parameter if known is old else known for known in group["params"]]
            state = optimizer.state.pop(old, {})
            optimizer.state[parameter] = {
                key: torch.cat([value[rewrite.keep], torch.zeros_like(new)])
                if isinstance(value, torch.Tensor) and value.shape == old.shape
                else value
                for key, value in state.items()
            }


SETTINGS = ("lr", "initial_lr", "betas", "eps", "momentum", "nesterov", "weight_decay", "decoupled_weight_decay")
"""The entries of a group that the config decides; all others are the optimiser's state."""


def refuse_other_rule(saved: str, wanted: str) -> None:
    """Refuse a checkpoint whose config, as YAML, has another optimiser than the config of now.

    Raises:
        UserError: it has.
    """
    before, now = (yaml.safe_load(text)["optimizer"]["type"] for text in (saved, wanted))
    if before != now:
        raise UserError(f"optimizer: the checkpoint was made with {before!r}, whose state {now!r} cannot take over")


def take_over_settings(saved: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    """Give the saved groups of an optimiser the settings that a config wants now.

    Raises:
        UserError: the groups are others.
    """
    sizes = [[len(group["params"]) for group in groups] for groups in (saved, wanted)]
    if sizes[0] != sizes[1]:
        raise UserError(f"optimizer.groups: the checkpoint was made with others ({sizes[0]} parameters there, {sizes[1]} here)")
    for old, new in zip(saved, wanted, strict=True):
        old.update({name: new[name] for name in SETTINGS if name in old and name in new})


def state_tensors(state: Any) -> Iterator[Tensor]:
    """All tensors in (a part of) an optimiser's state, those in the objects of a library too, always in the same order."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, list | tuple):
        for part in state:
            yield from state_tensors(part)
    elif isinstance(state, dict):
        yield from state_tensors(list(state.values()))
    elif hasattr(state, "__dict__") and not isinstance(state, Enum):
        yield from state_tensors(vars(state))


class SkipsEmptySteps(torch.optim.Optimizer):
    """Leaves out steps without any gradient, which others would count: those whose gradients were not finite."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update, if there are gradients after `closure` was called; what `closure` returned."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        if any(parameter.grad is not None for group in self.param_groups for parameter in group["params"]):
            self.update()
        return loss

    def update(self) -> None:
        """The step of the class that this one is mixed into."""
        super().step()


class GroupedOptimizer(OptimizerFactory):
    """An optimiser with learning rates by component name and a schedule."""

    cfg: OptimizerConfig

    def groups(self, trained: nn.Module) -> list[dict[str, Any]]:
        """One group per entry of `groups` plus one for the rest.

        Raises:
            UserError: a group names nothing that is trained.
        """
        members: dict[str, list[nn.Parameter]] = {name: [] for name in ("", *self.cfg.groups)}
        for name, parameter in trained.named_parameters():
            if parameter.requires_grad:
                matching = [group for group in self.cfg.groups if name == group or name.startswith(group + ".")]
                members[max(matching, key=len, default="")].append(parameter)
        empty = [name for name in self.cfg.groups if not members[name]]
        if empty:
            parts = sorted({name.rsplit(".", 1)[0] for name, _ in trained.named_parameters()})
            raise UserError(f"optimizer.groups.{empty[0]}: nothing trainable has this name. Parts: {', '.join(parts)}")
        return [
            {
                "name": name or "other",
                "params": parameters,
                "lr": self.cfg.groups.get(name, self.cfg.lr),
                "initial_lr": self.cfg.groups.get(name, self.cfg.lr),
            }
            for name, parameters in members.items()
            if parameters
        ]

    def scale(self, step: int) -> float:
        """The schedule's value."""
        return self.cfg.schedule(step)


class Adam(GroupedOptimizer):
    """Adam or AdamW (arXiv 1412.6980, 1711.05101), fused where the device has it."""

    cfg: AdamConfig

    def create(self, trained: nn.Module) -> torch.optim.Optimizer:
        """The optimiser over all groups."""
        rule = torch.optim.AdamW if self.cfg.variant == "adamw" else torch.optim.Adam
        rates = {"betas": self.cfg.betas, "eps": self.cfg.eps, "weight_decay": self.cfg.weight_decay}
        return rule(self.groups(trained), **rates, fused=True)
