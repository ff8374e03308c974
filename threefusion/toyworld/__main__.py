"""Command line of the toy world: `python -m threefusion.toyworld {views,train,sample,preview}`."""

from __future__ import annotations

import argparse
from pathlib import Path

STATE = Path(".training")


def _train(options: argparse.Namespace) -> None:
    import torch

    from threefusion.toyworld.train import Plan, Trainer
    from threefusion.toyworld.views import ViewStore, render_shards

    if options.threads:
        torch.set_num_threads(options.threads)
    views = options.state / "views"
    if not list(views.glob("views-???.npy")):
        render_shards(views, options.shards)
    plan = Plan(minutes=options.minutes, seed=options.seed)
    recipe = _recipe(options)
    Trainer(recipe, ViewStore(views), options.state / options.what, plan).run(options.export)


def _recipe(options: argparse.Namespace) -> object:
    if options.what == "pixel":
        from threefusion.toyworld.pixel import PixelRecipe

        return PixelRecipe(seed=options.seed, fast=options.compile)
    raise SystemExit(2)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m threefusion.toyworld", description=__doc__)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="train a bundled prior; continues where the last run stopped")
    train.add_argument("what", choices=["pixel", "vae", "latent"])
    train.add_argument("--minutes", type=float, default=75.0, help="training time over all resumed runs")
    train.add_argument("--export", type=Path, help="diffusers folder, rewritten every five minutes")
    train.add_argument("--state", type=Path, default=STATE, help="folder of views and checkpoints")
    train.add_argument("--shards", type=int, default=24, help="shards of views to render if there are none")
    train.add_argument("--threads", type=int, default=0)
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--compile", action="store_true", help="compile the network first (needs a C++ compiler)")
    train.set_defaults(run=_train)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
