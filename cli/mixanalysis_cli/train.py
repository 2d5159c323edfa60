"""`mixanalysis train`: make a checkpoint."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mixanalysis.errors import UsageError
from mixanalysis.families import TRAINABLE
from mixanalysis_cli import completion, options, terminal
from mixanalysis_cli.printing import say

NAME = "train"


class Optimizer(StrEnum):
    """Optimisers."""

    adamw = "adamw"
    sgd = "sgd"


class Augment(StrEnum):
    """Random changes of training images."""

    none = "none"
    crop_flip = "crop-flip"
    auto = "auto"


class Activation(StrEnum):
    """Activations of an MLP."""

    relu = "relu"
    gelu = "gelu"


class Block(StrEnum):
    """Blocks of an MLP."""

    mlp = "mlp"
    fc = "fc"


class Mask(StrEnum):
    """How a mask is drawn."""

    bernoulli = "bernoulli"
    exact = "exact"


class MaskValue(StrEnum):
    """The mask's non-zero value."""

    inverse_root = "inverse-root"
    one = "one"


@terminal.reporting
def command(
    context: typer.Context,
    family: Annotated[
        str,
        typer.Argument(help=f"{', '.join(TRAINABLE)}.", show_default=False, autocompletion=completion.families),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The checkpoint.", show_default="checkpoints/FAMILY.safetensors"),
    ] = None,
    data: options.Data = "digits",
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            min=1,
            help="Side that images are resized to; not those of a .npz file.",
            show_default="16 for digits, else their own",
        ),
    ] = None,
    patch: Annotated[int, typer.Option("--patch", min=1, help="Side of a patch in pixels.")] = 4,
    channels: Annotated[int | None, typer.Option("--channels", min=1, help="C.", show_default="16")] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="S.", show_default="patches")] = None,
    expansion: Annotated[float | None, typer.Option("--expansion", help="gamma.", show_default="2")] = None,
    expansion_token: Annotated[
        float | None, typer.Option("--expansion-token", help="gamma_S.", show_default="--expansion")
    ] = None,
    expansion_channel: Annotated[
        float | None, typer.Option("--expansion-channel", help="gamma_C.", show_default="--expansion")
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", min=1, help="Base blocks of a Mixer, or blocks of an MLP.", show_default="3, or 6"),
    ] = None,
    width: Annotated[
        int | None, typer.Option("--width", min=1, help="m of an MLP.", show_default="patches x channels")
    ] = None,
    density: Annotated[
        float | None,
        typer.Option("--density", help="p of an SW-MLP.", show_default="that of the Mixer of these sizes"),
    ] = None,
    block: Annotated[Block | None, typer.Option("--block", help="Blocks of an MLP.", show_default="mlp")] = None,
    mask: Annotated[
        Mask | None,
        typer.Option("--mask", help="Each cell by chance, or an exact number.", show_default="bernoulli"),
    ] = None,
    mask_value: Annotated[
        MaskValue | None,
        typer.Option("--mask-value", help="Masks in {0, 1/sqrt(p)} or {0, 1}.", show_default="inverse-root"),
    ] = None,
    permutations: Annotated[
        str | None,
        typer.Option(
            "--permutations",
            help="Of a PK network: normal, random, none or commutation for each base block, separated by commas and "
            "repeated in turn; KIND/KIND for its two mixing blocks.",
            show_default="normal",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            "--blocks", min=1, help="k of Monarch or Kronecker weights.", show_default="divisor of m near its root"
        ),
    ] = None,
    skip: Annotated[
        bool | None,
        typer.Option(
            "--skip/--no-skip", help="LayerNorm and skip in Monarch and Kronecker MLPs.", show_default="no-skip"
        ),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option("--activation", help="Of a Monarch or Kronecker MLP.", show_default="relu"),
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=0, help="Passes over the training set.")] = 30,
    lr: Annotated[float, typer.Option("--lr", help="Peak learning rate.")] = 3e-3,
    optimizer: Annotated[
        Optimizer, typer.Option("--optimizer", help="AdamW, or SGD with Nesterov momentum 0.9.")
    ] = Optimizer.adamw,
    weight_decay: Annotated[float, typer.Option("--weight-decay", help="Of weight matrices.")] = 0.01,
    augment: Annotated[
        Augment,
        typer.Option(
            "--augment",
            help="Random crops (4 pixels of padding) and mirror images, and with auto two random operations more.",
        ),
    ] = Augment.none,
    compile_: Annotated[bool, typer.Option("--compile", help="Run the network through torch.compile.")] = False,
    amp: Annotated[bool, typer.Option("--amp", help="Matrix products in bfloat16; weights stay float32.")] = False,
    device: options.Device = "cpu",
    batch_size: options.BatchSize = 64,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    keep_every: Annotated[
        int | None,
        typer.Option(
            "--keep-every",
            min=1,
            help="Also keep checkpoints of the start and of each so many epochs, named -epochN.",
            show_default="none",
        ),
    ] = None,
    resume: options.Resume = True,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Train a network and write its checkpoint; go on from where an interrupted run stopped."""
    from mixanalysis.families.loading import load
    from mixanalysis.families.sizes import Sizes
    from mixanalysis.runs import costs
    from mixanalysis.runs.inspect import describe
    from mixanalysis.training import TrainingConfig, plan, train

    out = output or Path("checkpoints") / f"{family}.safetensors"
    options.check_file(out)
    sizes = Sizes(
        channels=channels,
        tokens=tokens,
        expansion=expansion,
        expansion_token=expansion_token,
        expansion_channel=expansion_channel,
        depth=depth,
        width=width,
        density=density,
        block=None if block is None else block.value,
        mask=None if mask is None else mask.value,
        mask_value=None if mask_value is None else mask_value.value,
        permutations=permutations,
        blocks=blocks,
        skip=skip,
        activation=None if activation is None else activation.value,
    )
    network, sets = plan(family, sizes, data, patch=patch, image_size=image_size, limit=limit)
    try:
        settings = TrainingConfig(
            epochs, optimizer.value, lr, weight_decay, batch_size, seed, augment.value, compile_, amp
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    if dry_run:
        cost = costs.of_training(family, network, len(sets[0]), epochs, batch_size)
        told = ", ".join(f"{name} {value}" for name, value in asdict(settings).items())
        outputs = f"{out}: {network.family}, m = {network.width}, {len(sets[0])} training images, {told}"
        terminal.show_plan(cost, outputs, device=device, json=json)
        return
    with terminal.progress(quiet=quiet) as stage:
        train(
            network,
            sets,
            out,
            settings,
            resume=resume,
            force=force,
            keep_every=keep_every,
            device=device,
            progress=stage(family),
        )
    if sets[0].note and not quiet:
        say(f"{data}: {sets[0].note}", err=True)
    found = describe(load(out))
    if json:
        terminal.show_json(found)
        return
    accuracy = found["training"]["test_accuracy"]
    say(f"{out}: {found['family']}, {found['parameters']:,} parameters, test accuracy {accuracy:.2%}")
