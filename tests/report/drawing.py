"""Drawing a figure in a test, and reading its artists."""

from __future__ import annotations

import io

import numpy as np

from mixanalysis.report.style import figure
from mixanalysis.similarity.schemas import CKA_CELLS, CKA_DIAGONAL


def filled(schema, **values):
    return dict.fromkeys((column.name for column in schema.columns), "") | values


def cells_of(values, a="one", b="two", spread=0.1, **columns):
    return CKA_CELLS.frame(
        filled(
            CKA_CELLS,
            network_a=a,
            network_b=b,
            layer_a=f"{i}.token",
            layer_b=f"{j}.channel",
            index_a=i,
            index_b=j,
            value=value,
            low=value - spread,
            high=value + 2 * spread,
            **{"features": "block outputs", "independent": 0.0} | columns,
        )
        for (i, j), value in np.ndenumerate(np.asarray(values, dtype=float))
    )


def diagonal_of(*rows, density_a=1 / 16):
    """Rows of network_a, network_b, relation, mean, low, high, and perhaps the density of network_b."""
    return CKA_DIAGONAL.frame(
        filled(CKA_DIAGONAL, network_a=a, network_b=b, relation=relation, mean=mean, low=low, high=high)
        | {"density_a": density_a, "density_b": density[0] if density else np.nan}
        for a, b, relation, mean, low, high, *density in rows
    )


def drawn(draw, *arguments, size=(6, 4)):
    result = figure(draw, size, *arguments)
    result.savefig(io.BytesIO(), format="png", dpi=40)
    return result


def texts(ax):
    return [text.get_text() for text in ax.texts]


def labelled(ax):
    return [ax.get_xlabel(), ax.get_ylabel()]


def files_of(out):
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
