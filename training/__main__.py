"""Command line of the training programs: `python -m training {train,sample,preview,measure}`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.machine.process import prepare_process

if TYPE_CHECKING:
    from training.train import Recipe

STATE = Path(".training")


def _train(options: argparse.Namespace) -> None:
    import torch

    from training import processes
    from training.judge import FIRST_SEED, STEPS, JudgeRecipe
    from training.train import Plan, Trainer
    from training.views import ViewStore, render_shards

    if options.threads:
        torch.set_num_threads(options.threads)
    # the judge is trained on separate views
    views, first = ("judge-views", FIRST_SEED) if options.what == "judge" else ("views", 0)
    rank, count = processes.join()
    if rank == 0:
        render_shards(options.state / views, options.shards, first)
    # the others wait for the first
    processes.first_says(0, count)
    store = ViewStore(options.state / views)
    steps = options.steps
    if options.what == "judge":
        recipe: Recipe = JudgeRecipe(seed=options.seed)
        steps = min(steps, STEPS)
    elif options.what == "pixel":
        from training.pixel import PixelRecipe

        recipe = PixelRecipe(seed=options.seed)
    else:
        from training.latent import LatentRecipe, VaeRecipe

        autoencoder = VaeRecipe(seed=options.seed)
        if options.weights:
            autoencoder.start_from(options.weights)
            vae = autoencoder.networks["vae"]
        else:
            trainer = Trainer(autoencoder, store, options.state / "vae", Plan(steps=options.vae_steps))
            trainer.run()
            vae = trainer.average["vae"]
        recipe = LatentRecipe(vae, store, seed=options.seed)
    if options.weights:
        recipe.start_from(options.weights)
    if options.batch_size:
        recipe.batch_size = options.batch_size
    plan = Plan(minutes=options.minutes, steps=steps, seed=first + options.seed)
    Trainer(recipe, store, options.state / options.what, plan).run(options.export)


def _sample(options: argparse.Namespace) -> None:
    import torch

    from threefusion.toyworld.captions import describe
    from threefusion.toyworld.catalogue import CLASSES
    from threefusion.toyworld.palette import COLORS
    from training.captions import VIEW_WORDS
    from training.sample import Sampler
    from training.sheet import save_png, tile

    sampler = Sampler(options.folder)
    colors, names = list(COLORS), options.classes or list(CLASSES)
    rows = [
        sampler.draw(
            [describe(name, colors[(5 * i + 1) % len(colors)], view) for i, name in enumerate(names)], options.scale, seed=row
        )
        for row, view in enumerate(VIEW_WORDS)
    ]
    save_png(tile(torch.stack(rows), 64 // sampler.image_size), options.out)


def _preview(options: argparse.Namespace) -> None:
    from training.sheet import ground_truth_sheet, save_png

    save_png(ground_truth_sheet(options.size, options.classes), options.out)


def _measure(options: argparse.Namespace) -> None:
    if (options.folder / "model_index.json").exists():
        from training.measure import measure

        result = measure(options.folder, options.state, options.count, options.scale)
    else:
        from training.retrieval import measure_judge

        result = measure_judge(options.folder, options.state, 4 * options.count)
    print(json.dumps(result, indent=1))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    train = commands.add_parser("train", help="train a bundled prior; continues where the last run stopped")
    train.add_argument("what", choices=["pixel", "latent", "judge"])
    train.add_argument("--minutes", type=float, default=75.0, help="training time over all resumed runs")
    train.add_argument("--steps", type=int, default=10**9, help="a limit of steps, for machines whose minutes differ")
    train.add_argument("--vae-steps", type=int, default=2000, help="of the latent prior's autoencoder, which comes first")
    train.add_argument("--export", type=Path, help="diffusers folder, rewritten every five minutes")
    train.add_argument("--weights", type=Path, help="exported folder whose weights to begin with, where no state is there yet")
    train.add_argument("--batch-size", type=int, help="pictures a step, over all processes; the recipe's own by default")
    train.add_argument("--state", type=Path, default=STATE, help="folder of views and checkpoints")
    train.add_argument("--shards", type=int, default=24, help="shards of views to render, 896 views each")
    train.add_argument("--threads", type=int, default=0)
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)
    sample = commands.add_parser("sample", help="a contact sheet of a prior's samples, four views a class")
    sample.set_defaults(run=_sample)
    preview = commands.add_parser("preview", help="a contact sheet of the true objects")
    preview.add_argument("--size", type=int, default=64)
    preview.set_defaults(run=_preview)
    measure = commands.add_parser("measure", help="what a classifier finds in a prior's samples, what the judge finds in renders")
    measure.add_argument("--state", type=Path, default=STATE)
    measure.add_argument(
        "--count", type=int, default=500, help="samples of seen and of held-out pairs; the judge sees four times as many renders"
    )
    measure.set_defaults(run=_measure)
    for command in (sample, measure):
        command.add_argument("folder", type=Path, help="a bundled prior")
        command.add_argument("--scale", type=float, default=3.0, help="guidance scale; 1 is the plain conditional model")
    for command in (sample, preview):
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--classes", nargs="*", help="class words; all by default")
    options = parser.parse_args()
    if getattr(options, "weights", None) and not options.weights.is_dir():
        parser.error(f"--weights {options.weights}: no such folder")
    prepare_process()
    options.run(options)


if __name__ == "__main__":
    main()
