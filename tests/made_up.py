"""A made-up report, of any size, without running a network."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mixanalysis import width
from mixanalysis.network.schemas import LAYERS, NETWORKS
from mixanalysis.report.networks.section import section as networks_section
from mixanalysis.report.section import Report, Sources
from mixanalysis.report.similarity.section import section as similarity_section
from mixanalysis.report.spectra.section import section as spectra_section
from mixanalysis.report.width.section import section as width_section
from mixanalysis.similarity import CKAResult
from mixanalysis.similarity.schemas import CKA_CELLS, CKA_DIAGONAL, CKA_LAYERS
from mixanalysis.spectra import SpectrumResult
from mixanalysis.spectra.nulls import Null
from mixanalysis.spectra.schemas import SINGULAR_VALUES, SPECTRUM, SPECTRUM_OUTLIERS
from mixanalysis.width import WIDTH_OPTIMA, WIDTH_POINTS, WidthResult

OMEGA, GAMMA = 4096.0, 2.0
HOW = {"estimator": "cka/kernel=linear", "features": "block outputs", "data": "digits (test)"}


@dataclass(frozen=True, eq=False)
class Contents:
    """Results and sources, to be changed before a report is made of them.

    Attributes:
        tables: by the name of their schema.
        laws: the null of each (network, layer).
        warnings: of CKA.
        sources: of the report.
        files: beside the page.
        figures: whether sections have figures.
    """

    tables: dict[str, pd.DataFrame]
    laws: dict[tuple[str, str], Null]
    warnings: tuple[str, ...]
    sources: Sources
    files: tuple[str, ...]
    figures: bool = True

    def report(self):
        tables = self.tables
        similarity = CKAResult(tables["cka"], tables["cka_diagonal"], CKA_LAYERS.frame([]), self.warnings)
        spectra = SpectrumResult(tables["spectrum"], tables["singular_values"], tables["spectrum_outliers"], self.laws)
        lines = (tables["width_line"], tables["width_channels"], WIDTH_OPTIMA.frame([]), tables["width_points"])
        sections = (similarity_section(similarity), spectra_section(spectra), width_section(WidthResult(*lines)))
        if not self.figures:
            sections = tuple(replace(section, figures=()) for section in sections)
        networks = tuple(map(str, tables["networks"]["network"]))
        overview = networks_section(tables["networks"], tables["layers"])
        return Report(networks, overview, sections, self.sources, self.files)


def filled(schema, **values):
    return dict.fromkeys((column.name for column in schema.columns), "") | values


def contents(labels=("mixer", "mlp", "floor"), layers=4, relations=None, figures=True, values=40, **changes):
    """A page of networks of `layers` layers and as many blocks; `relations` by pair."""
    generator = np.random.default_rng(0)
    names = [f"blocks.{index}.mlp.fc1" for index in range(layers)]
    pairs = list(itertools.combinations(labels, 2)) or [(labels[0], labels[0])]
    spectra = [_layer(label, name, index, generator) for label in labels for index, name in enumerate(names)]
    tables = {
        "networks": NETWORKS.frame(_network(label) for label in labels),
        "layers": LAYERS.frame(filled(LAYERS, network=label, layer=name) for label in labels for name in names),
        "cka": CKA_CELLS.frame(cell for pair in pairs for cell in _cells(pair, layers, generator)),
        "cka_diagonal": CKA_DIAGONAL.frame(
            _diagonal(pair, index, layers, (relations or {}).get(pair, "itself" if pair[0] == pair[1] else ""))
            for index, pair in enumerate(pairs)
        ),
        "spectrum": SPECTRUM.frame(spectra),
        "spectrum_outliers": SPECTRUM_OUTLIERS.frame(
            filled(SPECTRUM_OUTLIERS, network=row["network"], layer=row["layer"], rank=1, singular_value=row["s_max"])
            for row in spectra
            if row["outliers"]
        ),
        "singular_values": pd.concat([_values(row, values, generator) for row in spectra], ignore_index=True),
        "width_points": WIDTH_POINTS.frame(_point(label) for label in labels),
        "width_line": width.line(OMEGA, GAMMA),
        "width_channels": width.channel_line(OMEGA, GAMMA),
    }
    inputs = [
        {"label": label, "path": f"{label}.pt", "sha256": "0" * 64, "format": "torch", "layout": "own"}
        for label in labels
    ]
    data = {"name": "digits", "split": "test", "images": 64, "fingerprint": "1" * 64}
    return Contents(
        **{
            "tables": tables,
            "laws": {(row["network"], row["layer"]): _law(row) for row in spectra},
            "warnings": ("a made-up warning",),
            "sources": Sources(inputs, data, {"python": "3.11"}),
            "files": (*(f"tables/{name}.csv" for name in tables), "report.pdf"),
            "figures": figures,
        }
        | changes
    )


def _network(label):
    known = {"width": 64, "density": 0.5, "expansion": GAMMA, "omega": OMEGA, "parameters": 12345, "blocks": 4}
    return filled(NETWORKS, network=label, family="mixer", test_accuracy=0.9 if label == "mixer" else np.nan, **known)


def _point(label):
    return {"network": label, "family": "mixer", "width": 64, "density": 0.5} | {
        "expansion": GAMMA,
        "omega": OMEGA,
        "widest_mixer": width.optimum(OMEGA, GAMMA).m,
    }


def _cells(pair, layers, generator):
    for i, j in np.ndindex(layers, layers):
        value = generator.uniform(0.2, 0.9)
        yield filled(
            CKA_CELLS,
            network_a=pair[0],
            network_b=pair[1],
            layer_a=f"{i}.token",
            layer_b=f"{j}.channel",
            index_a=i,
            index_b=j,
            value=value,
            low=value - 0.1,
            high=value + 0.05,
            status="ok",
            **HOW,
        )


def _diagonal(pair, index, layers, relation):
    mean = 0.8 - 0.1 * index
    numbers = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "n": 64, "blocks": layers}
    densities = {"density_a": 0.5, "density_b": 0.25, "status": "ok"}
    return {"network_a": pair[0], "network_b": pair[1], "relation": relation} | numbers | densities | HOW


def _layer(label, name, index, generator):
    edge, far = 2.0, index % 3 == 1
    numbers = dict.fromkeys((column.name for column in SPECTRUM.columns), np.nan)
    return numbers | {
        "network": label,
        "layer": name,
        "block": index,
        "role": "dense",
        "factor_rows": 60,
        "factor_columns": 40,
        "width": 64,
        "copies": 1,
        "density": 0.5,
        "variance": 0.02,
        "variance_source": "fitted",
        "null": "Marchenko-Pastur",
        "edge": edge,
        "bulk_edge": edge * 0.9 if index % 2 else edge,
        "null_edge": edge,
        "threshold": edge * 1.1,
        "s_max": edge * (1.5 + 0.1 * index if far else generator.uniform(0.9, 1.0)),
        "p_value": 1e-9 if far else 0.4,
        "q_value": 1e-8 if far else 0.5,
        "outliers": int(far),
        "method": "exact",
    }


def _values(row, count, generator):
    values = np.append(row["s_max"], np.sort(generator.uniform(0.1, 1.9, count - 1))[::-1])
    return SINGULAR_VALUES.frame(
        {"network": row["network"], "layer": row["layer"], "singular_value": value, "multiplicity": 1}
        for value in values
    )


def _law(row):
    edges = (row["edge"], row["bulk_edge"], row["null_edge"], row["threshold"])
    return Null("Marchenko-Pastur", row["variance"], "fitted", *edges)
