"""`mixanalysis spectrum`: singular values against random-matrix theory."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

if TYPE_CHECKING:
    from mixanalysis.network import Network
    from mixanalysis.spectra import SpectrumResult

NAME = "spectrum"


class Variance(StrEnum):
    """Where the entry variance of the null comes from."""

    fitted = "fitted"
    measured = "measured"
    declared = "declared"


class Convention(StrEnum):
    """How the density of the sweep's masks follows from Omega."""

    stated = "stated"
    figure = "figure"
    square = "square"


@terminal.reporting
def command(
    context: typer.Context,
    checkpoints: Annotated[
        list[str] | None, typer.Argument(help="Checkpoints; none for --sweep.", show_default=False)
    ] = None,
    output: options.Output = None,
    variance: Annotated[
        Variance,
        typer.Option(
            "--variance", help="Entry variance of the null: fitted to the bulk, mean square, or of the initialisation."
        ),
    ] = Variance.fitted,
    level: Annotated[float, typer.Option("--level", help="Chance that noise passes a layer's threshold.")] = 0.01,
    shuffles: Annotated[
        int, typer.Option("--shuffles", min=0, help="Draws of the model-free null: weights shuffled in their places.")
    ] = 0,
    product: Annotated[
        bool, typer.Option("--product", help="Products of the mixing layers of each block instead of layers.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option("--init", help="Checkpoint of the initialisation W0: analyse W - W0.", show_default=False),
    ] = None,
    over_training: Annotated[
        bool, typer.Option("--over-training", help="The checkpoints are of one run: draw them against the epoch.")
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="No checkpoints: masked noise against its width at fixed Omega.")
    ] = False,
    omega: Annotated[str, typer.Option("--omega", help="Omega of the sweep.")] = "2^19",
    expansion: Annotated[float, typer.Option("--expansion", help="gamma of the sweep.")] = 2.0,
    widths: Annotated[
        list[int] | None,
        typer.Option("--width", min=1, help="Width of the sweep; repeatable.", show_default="724 to 524288"),
    ] = None,
    convention: Annotated[
        Convention,
        typer.Option(
            "--density-convention",
            help="p of the sweep: stated Omega/(gamma m^2), of the printed figure Omega/(gamma m)^2, or Omega/m^2.",
        ),
    ] = Convention.stated,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Matrices per width of the sweep.")] = 5,
    seed: options.Seed = 0,
    layers: options.Layers = None,
    exclude: options.Exclude = None,
    layout: options.Layout = None,
    assume: options.Assume = None,
    weights: options.Weights = options.WeightsChoice.auto,
    key: options.Key = "",
    prefix: options.Prefix = "",
    zeros_are_masked: options.ZerosAreMasked = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Layers at once (needs joblib beyond 1).")] = 1,
    format: options.FigureFormat = options.Format.png,  # noqa: A002
    style: options.FigureStyle = options.Style.paper,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: options.Force = False,
    config: options.ConfigFile = None,
) -> None:
    """Singular values of the effective layers against the edge of noise of the same structure."""
    from mixanalysis.errors import UsageError
    from mixanalysis.families.loading import load, load_all
    from mixanalysis.network import UNKNOWN
    from mixanalysis.report.style import FigureStyle
    from mixanalysis.results import records
    from mixanalysis.runs import Invocation, costs
    from mixanalysis.runs.spectra import spectrum_report, sweep_report
    from mixanalysis.selection import matching
    from mixanalysis.spectra import targets
    from mixanalysis.spectra.sweep import WIDTHS

    out = output or Path("reports/spectrum")
    request = Invocation(NAME, options.argv(), *options.resolved(context))
    if sweep == bool(checkpoints):
        raise UsageError("give checkpoints, or --sweep without any")
    if sweep:
        chosen = widths or WIDTHS
        if dry_run:
            terminal.show_plan(
                costs.of_sweep(options.number(omega, "--omega"), expansion, chosen, seeds),
                f"{out}: tables/spectrum_sweep.csv of {len(chosen)} widths x {seeds} seeds, figure, manifest.json",
                json=json,
            )
            return
        with terminal.progress(quiet=quiet) as stage:
            table = sweep_report(
                out,
                request,
                omega=options.number(omega, "--omega"),
                expansion=expansion,
                widths=chosen,
                convention=convention.value,
                seeds=seeds,
                look=FigureStyle(format.value, style.value),
                force=force,
                stage=stage,
            )
        if json:
            terminal.show_json({"spectrum_sweep": records(table)})
            return
        headings = {"width": "m", "density": "p", "s_max": "mean s_max", "standard_error": "s.e."}
        headings |= {"predicted": "predicted", "bulk_edge": "graph edge", "first_order_edge": "first order"}
        terminal.show_table(table, headings | {"c_gamma": "c_γ"})
        say(str(out))
        return
    given = options.assumed(assume)
    part: options.Part = {"key": key, "prefix": prefix, "zeros_are_masked": zeros_are_masked}
    networks = load_all(checkpoints or [], layout, assume=given, weights=weights.value, **part, weights_only=True)
    initial = (
        None if init is None else load(init, layout, assume=given, weights=weights.value, **part, weights_only=True)
    )
    for network in networks:
        if network.family == UNKNOWN:
            terminal.note(_unknown(network), quiet=quiet)
    if dry_run:
        keep = matching(layers or (), exclude or ())
        wanted = targets.chosen(networks, keep, products=product, initial=initial)
        outputs = f"{out}: tables/spectrum.csv, tables/singular_values.csv, figures, manifest.json"
        terminal.show_plan(costs.of_spectra(wanted, shuffles), outputs, json=json)
        return
    with terminal.progress(quiet=quiet) as stage:
        result = spectrum_report(
            networks,
            out,
            request,
            variance=variance.value,
            level=level,
            shuffles=shuffles,
            seed=seed,
            layers=layers or (),
            exclude=exclude or (),
            products=product,
            initial=initial,
            over_training=over_training,
            jobs=jobs,
            look=FigureStyle(format.value, style.value),
            force=force,
            stage=stage,
        )
    if json:
        terminal.show_json(result.to_json())
        return
    _show(result, shuffled=bool(shuffles), quiet=quiet)
    say(str(out))


def _show(result: SpectrumResult, *, shuffled: bool, quiet: bool) -> None:
    """The layers, why one has no law, and the outliers."""
    columns = {
        "network": "network",
        "layer": "layer",
        "width": "m",
        "expansion": "γ",
        "density": "p",
        "variance": "v",
        "edge": "MP edge",
        "null_edge": "edge of null",
        "threshold": "threshold",
        "s_max": "s_max",
        "s_max_scaled": "scaled",
        "c_gamma": "c_γ",
        "p_value": "p-value",
        "q_value": "q-value",
        "outliers": "outliers",
    }
    if shuffled:
        columns |= {"shuffle_mean": "shuffled", "shuffle_p_value": "shuffle p"}
    known = result.summary.columns[result.summary.notna().any()]
    terminal.show_table(result.summary, {name: heading for name, heading in columns.items() if name in known})
    if "p_value" not in known:
        say("No p-values: no null fits these layers, or their products are too large to be drawn.")
    for note in result.notes:
        terminal.note(note, quiet=quiet)
    named = ~result.summary["check"].isin(("", "ok"))
    for row in result.summary[result.summary["null"].str.startswith("none: ") & ~named].itertuples():
        reason = str(row.null).removeprefix("none: ")
        terminal.note(f"{row.network} {row.layer}: no edge and no p-value, {reason}", quiet=quiet)
    if len(result.outliers):
        hubs = (result.outliers["kind"] != "bulk").any()
        shown = [name for name in result.outliers.columns if hubs or name not in ("line", "degree")]
        terminal.show_table(result.outliers, {name: name.replace("_", " ") for name in shown}, "Outliers")


def _unknown(network: Network) -> str:
    from mixanalysis.runs.inspect import by_reason

    count = len(network.layers)
    matrices = "one matrix" if count == 1 else f"{count} matrices"
    unused = by_reason(network.provenance.unused, 3)
    return f"{network.label}: unknown architecture, its {matrices} alone" + (f"; skipped {unused}" if unused else "")
