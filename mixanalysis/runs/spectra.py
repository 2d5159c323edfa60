"""Spectra with their folder of tables and figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mixanalysis.errors import UsageError
from mixanalysis.network import Network
from mixanalysis.report.spectra.figures import spectrum_sweep, spectrum_training
from mixanalysis.report.spectra.section import section as spectra_section
from mixanalysis.report.style import COLUMN, PAPER, TEXT, FigureStyle
from mixanalysis.runs.folder import Invocation, Stage, opened
from mixanalysis.selection import matching
from mixanalysis.spectra import SpectrumResult, spectrum
from mixanalysis.spectra.nulls import VarianceSource
from mixanalysis.spectra.options import LEVEL
from mixanalysis.spectra.sweep import Convention, sweep


def spectrum_report(
    networks: Sequence[Network],
    out: Path,
    request: Invocation,
    *,
    variance: VarianceSource = "fitted",
    level: float = LEVEL,
    shuffles: int = 0,
    seed: int = 0,
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    products: bool = False,
    initial: Network | None = None,
    over_training: bool = False,
    jobs: int = 1,
    look: FigureStyle = PAPER,
    force: bool = False,
    stage: Stage = lambda _name: None,
) -> SpectrumResult:
    """Spectra of all layers, written to `out`; the parameters are those of `spectra.spectrum`.

    Args:
        networks: one or more.
        out: the folder.
        request: what was asked for.
        variance: entry variance of the null.
        level: probability with which noise may exceed a layer's threshold.
        shuffles: draws of the model-free null.
        seed: of shuffles and Lanczos iterations.
        layers: patterns of layers to keep.
        exclude: patterns of layers to leave out.
        products: analyse products of a block's layers.
        initial: analyse W - W0.
        over_training: also draw s_max, edge and outliers against the epoch of the checkpoints of one run.
        jobs: layers at once.
        look: file format and style of the figures.
        force: also write into a folder that holds files of others.
        stage: asked for a progress callback.

    Returns:
        The result that was written.

    Raises:
        UsageError: the folder holds files of others, or the checkpoints of a run don't tell their epochs.
        NothingToAnalyseError: no layer has one of the wanted names.
    """
    steps = epochs_of(networks) if over_training else {}
    inputs = [*networks, *([] if initial is None else [initial])]
    with opened(out, request, networks=inputs, look=look, force=force) as folder:
        result = spectrum(
            *networks,
            variance=variance,
            level=level,
            shuffles=shuffles,
            seed=seed,
            layers=matching(layers, exclude),
            products=products,
            initial=initial,
            jobs=jobs,
            progress=stage("spectra"),
        )
        folder.section(spectra_section(result))
        if over_training:
            folder.figure("spectrum_training", spectrum_training, (TEXT, 3.4), result.summary, steps)
    return result


def epochs_of(networks: Sequence[Network]) -> dict[str, int]:
    """Epoch of each checkpoint of a run: by its training record, or else the last number in its name.

    Returns:
        Epochs by the networks' labels.

    Raises:
        UsageError: there is one checkpoint only, or one that doesn't tell its epoch.
    """
    if len(networks) < 2:
        raise UsageError("--over-training needs several checkpoints of one run")
    steps = {}
    for network in networks:
        recorded = network.provenance.training.get("epochs_done", network.provenance.training.get("epochs"))
        numbers = re.findall(r"\d+", network.label)
        if recorded is None and not numbers:
            raise UsageError(f"{network.label}: neither its training record nor its name tells its epoch")
        steps[network.label] = int(numbers[-1]) if recorded is None else int(recorded)
    return steps


def sweep_report(
    out: Path,
    request: Invocation,
    *,
    omega: float,
    expansion: float,
    widths: Sequence[int],
    convention: Convention,
    seeds: int,
    look: FigureStyle = PAPER,
    force: bool = False,
    stage: Stage = lambda _name: None,
) -> pd.DataFrame:
    """Largest singular value of masked noise against its width (HK Fig. 4, right), written to `out`.

    Returns:
        The table that was written.

    Raises:
        UsageError: the folder holds files of others, or a number is out of range.
    """
    with opened(out, request, look=look, force=force) as folder:
        table = sweep(omega, expansion, widths, convention=convention, seeds=seeds, progress=stage("sweep"))
        folder.table("spectrum_sweep", table)
        folder.figure("spectrum_sweep", spectrum_sweep, (COLUMN, 3.0), table)
    return table
