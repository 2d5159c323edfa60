"""Every layer's singular values against the null law of its structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from mixanalysis.errors import CheckpointError, NotFiniteError, UsageError
from mixanalysis.network import Network
from mixanalysis.spectra import targets
from mixanalysis.spectra.comparison import with_discovery_rate
from mixanalysis.spectra.layer import Analysis, Warm, analyse
from mixanalysis.spectra.nulls import VarianceSource
from mixanalysis.spectra.options import LEVEL, SpectrumOptions
from mixanalysis.spectra.result import SpectrumResult
from mixanalysis.spectra.schemas import SPECTRUM, SPECTRUM_OUTLIERS
from mixanalysis.spectra.targets import Target


def spectrum(
    *networks: Network,
    variance: VarianceSource = "fitted",
    level: float = LEVEL,
    shuffles: int = 0,
    seed: int = 0,
    layers: Callable[[str], bool] = lambda _name: True,
    products: bool = False,
    initial: Network | None = None,
    jobs: int = 1,
    zeros_are_masked: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SpectrumResult:
    """Singular values of the effective layers, against the edge of noise of the same structure.

    The null concerns the matrix with independent entries: for a shared weight the small factor, of which the
    effective layer holds equal copies; for a masked weight the masked matrix itself. All singular values are exact
    wherever the structure or the size allows; otherwise the largest come from Lanczos iterations.

    Args:
        networks: one or more.
        variance: entry variance of the null: "fitted" to the bulk, "measured" as the mean square over all cells, or
            "declared" by the initialisation. A masked layer is measured where others are fitted.
        level: probability with which noise may exceed the threshold of a layer.
        shuffles: draws of the model-free null, whose values are permuted within each weight; none by default.
        seed: of the shuffles and of Lanczos iterations.
        layers: keeps a layer by its name.
        products: analyse the product of the layers of each base block (of each block of an MLP) instead.
        initial: subtract this network's weights first (W - W0).
        jobs: layers analysed at once; more than one needs joblib. Threads are preferred, and any of joblib's backends
            can be set around the call. One after the other, a layer that needs Lanczos iterations starts them from the
            vectors of the layer of that name before it, such as that of an earlier checkpoint of a run.
        zeros_are_masked: take exact zeros of a dense weight for missing connections.
        progress: called after each layer with the layers done and in all.

    Returns:
        Summary, singular values and outliers of every layer.

    Raises:
        NothingToAnalyseError: no layer is kept, a pattern keeps none, or a variance is to be declared that isn't known.
        CheckpointError: a weight is damaged, or none is finite; layers with NaN or infinite values beside sound ones
            are skipped, and the result says so.
        UsageError: something is no network, W0 has another structure, or joblib is missing.
    """
    for network in networks:
        if not isinstance(network, Network):
            kind = type(network).__name__
            raise UsageError(f"expected networks as load() gives them, got a {kind}; save and load a module")
    options = SpectrumOptions(variance, level, shuffles, seed, zeros_are_masked)
    wanted = targets.chosen(networks, layers, products=products, initial=initial)
    analyses: list[Analysis] = []
    skipped: dict[tuple[str, str], NotFiniteError] = {}
    for done, (target, analysis) in enumerate(zip(wanted, _run(wanted, options, jobs), strict=True), start=1):
        if isinstance(analysis, NotFiniteError):
            skipped[target.network, target.layer] = analysis
        else:
            analyses.append(analysis)
        if progress is not None:
            progress(done, len(wanted))
    if not analyses:
        first = next(iter(skipped.values()))
        raise CheckpointError(str(first))
    rows = with_discovery_rate([row for row, _, _, _ in analyses])
    values = [frame for _, frame, _, _ in analyses]
    return SpectrumResult(
        SPECTRUM.frame(rows),
        pd.concat(values, ignore_index=True),
        SPECTRUM_OUTLIERS.frame(outlier for _, _, some, _ in analyses for outlier in some),
        {(row["network"], row["layer"]): null for row, _, _, null in analyses if null is not None},
        {name: str(error) for name, error in skipped.items()},
    )


def _run(wanted: Sequence[Target], options: SpectrumOptions, jobs: int) -> Iterator[Analysis | NotFiniteError]:
    if jobs == 1:
        warm: Warm = {}
        yield from (_attempted(target, options, warm) for target in wanted)
        return
    try:
        from joblib import Parallel, delayed
    except ImportError:
        raise UsageError("--jobs needs joblib: install mixanalysis with its extra `sweep`") from None
    tasks = (delayed(_attempted)(target, options) for target in wanted)
    # LAPACK and scipy's sparse products release the interpreter's lock
    yield from Parallel(n_jobs=jobs, prefer="threads", return_as="generator")(tasks)


def _attempted(target: Target, options: SpectrumOptions, warm: Warm | None = None) -> Analysis | NotFiniteError:
    """The layer's analysis, or why it has none."""
    try:
        return analyse(target, options, warm)
    except NotFiniteError as error:
        return error
