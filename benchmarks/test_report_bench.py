"""Drawing a report against the same panels in plain matplotlib and seaborn, in CPU time of one run.

python -m pytest -m benchmark benchmarks/test_report_bench.py
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import seaborn as sns
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

import mixanalysis as mx
from mixanalysis.checkpoints import save_checkpoint
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from cases import module_of

pytestmark = pytest.mark.benchmark

BLOCKS = 12


@pytest.fixture(name="networks")
def _networks(tmp_path):
    """Four networks of 12 blocks, each of a token and a channel mixing."""
    paths = []
    for seed, family in enumerate(("mixer", "rp-mixer", "sw-mlp", "mlp")):
        depth = BLOCKS if "mixer" in family else 2 * BLOCKS
        density = {"density": 0.1} if family == "sw-mlp" else {}
        config = configure(family, Patches(8, 8, 1, 2), 10, Sizes(channels=16, depth=depth, **density))
        paths.append(tmp_path / f"{family}.safetensors")
        save_checkpoint(paths[-1], config, module_of(config, seed=seed).state_dict(), {"seed": seed})
    return paths


def plain(result, spectra):
    """Every layer's histogram, 12 a figure, and every pair's heat map, each as a PNG and as a page of a PDF."""
    with PdfPages(io.BytesIO()) as pdf:
        for _, rows in spectra.summary.groupby("network"):
            for start in range(0, len(rows), 12):
                figure = Figure(figsize=(6.75, 4.6), layout="constrained")
                for ax, (_, row) in zip(figure.subplots(3, 4).ravel(), rows.iloc[start:].iterrows(), strict=False):
                    own = spectra.values[
                        (spectra.values["network"] == row["network"]) & (spectra.values["layer"] == row["layer"])
                    ]
                    ax.hist(own["singular_value"], bins=30, density=True)
                    ax.plot(np.linspace(0, 2, 400), np.zeros(400))
                    ax.axvline(row["null_edge"])
                    ax.set_title(row["layer"])
                figure.savefig(io.BytesIO(), format="png", dpi=300)
                pdf.savefig(figure)
        for _, cells in result.cells.groupby(["network_a", "network_b"]):
            figure = Figure(figsize=(3.25, 3.1), layout="constrained")
            sns.heatmap(cells.pivot_table("value", "index_a", "index_b", dropna=False), ax=figure.subplots())
            figure.savefig(io.BytesIO(), format="png", dpi=300)
            pdf.savefig(figure)


def test_drawing_a_report(networks, tmp_path, tell):
    stages = {}

    def stage(name):
        stages[name] = time.process_time()

    mx.write_report(networks, out=tmp_path / "out", stage=stage)
    ours = time.process_time() - stages["figures"]
    loaded = [mx.load(path) for path in networks]
    result, spectra = mx.cka(*loaded), mx.spectrum(*loaded)
    start = time.process_time()
    plain(result, spectra)
    theirs = time.process_time() - start
    tell(f"4 networks x {BLOCKS} blocks: {ours:.1f} s for all figures, PDF and HTML; plain panels {theirs:.1f} s")
    # tables, curves, captions and HTML come with ours
    assert ours < 1.2 * theirs
