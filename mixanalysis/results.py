"""Tables that the analyses answer with: which columns they have, in which unit, and what they mean."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

INTERVAL = "95% delete-one-group jackknife over batches"
SEED_INTERVAL = "95% Student t over seeds"


@dataclass(frozen=True)
class Column:
    """One column: its name, its unit ("" for a count, a ratio or text), and what it means."""

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order.

    Attributes:
        name: of the table, which is also its file's.
        columns: in order.
        keys: names of the columns that say which row it is; rows of equal keys, or of none, are told apart by their
            order.
    """

    name: str
    columns: tuple[Column, ...]
    keys: tuple[str, ...] = ()

    def frame(self, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
        """A frame with exactly these columns.

        Raises:
            ValueError: a row lacks a column or has one that the schema doesn't know.
        """
        names = [column.name for column in self.columns]
        rows = list(rows)
        for row in rows:
            if set(row) != set(names):
                msg = f"table {self.name}: columns differ from the schema: {sorted(set(row) ^ set(names))}"
                raise ValueError(msg)
        return pd.DataFrame(rows, columns=names)


def _schema(name: str, *columns: tuple[str, str, str], keys: tuple[str, ...] = ()) -> Schema:
    return Schema(name, tuple(Column(*column) for column in columns), keys)


_NETWORK = ("network", "", "label of the network, from its file's name")

NETWORKS = _schema(
    "networks",
    _NETWORK,
    ("family", "", "kind of network"),
    ("width", "features", "effective width m"),
    ("density", "", "mean density p of the mixing layers"),
    ("expansion", "", "gamma for which Omega = p gamma m^2"),
    ("omega", "connections", "average connections of a mixing layer, Omega"),
    ("parameters", "weights", "trainable weights; masked cells don't count"),
    ("blocks", "", "mixing blocks"),
    ("test_accuracy", "", "share of the test images classified correctly; empty without labels"),
    keys=("network",),
)

LAYERS = _schema(
    "layers",
    _NETWORK,
    ("layer", "", "path of the layer"),
    ("block", "", "index of its mixing block"),
    ("role", "", "token, channel, patch, gate, dense or skip"),
    ("rows", "features", "rows of the effective matrix"),
    ("columns", "features", "columns of the effective matrix"),
    ("width", "features", "the layer's own effective width"),
    ("expansion", "", "hidden over input size, gamma"),
    ("density", "", "share of cells that are connections, p"),
    ("connections", "", "non-zero effective weights by structure and mask"),
    keys=("network", "layer"),
)

CKA_CELLS = _schema(
    "cka",
    ("network_a", "", "network of the rows"),
    ("network_b", "", "network of the columns"),
    ("layer_a", "", "block of network_a"),
    ("layer_b", "", "block of network_b"),
    ("role_a", "", "what the block mixes"),
    ("role_b", "", "what the block mixes"),
    ("index_a", "", "position of the block, from 0"),
    ("index_b", "", "position of the block, from 0"),
    ("estimator", "", "how the value was estimated"),
    ("features", "", "which tensors were compared"),
    ("data", "", "data set and split"),
    ("n", "images", "images used"),
    ("batches", "", "batches used"),
    ("batch_size", "images", "images of a full batch"),
    ("value", "", "CKA; empty where undefined"),
    ("low", "", f"lower end of the interval: {INTERVAL}, or over groups of images where all are one batch"),
    ("high", "", "upper end of it"),
    ("z", "", "unbiased HSIC in standard deviations of its law under random pairings of examples, where its mean is 0"),
    ("p_value", "", "Tracy-Widom probability of a larger s_max under the null, 0 below 1e-308; empty without a law"),
    ("unbiased", "", "the value with the unbiased HSIC_1"),
    ("biased", "", "the value with the biased HSIC_0"),
    ("independent", "", "value of independent Gaussian features of these sizes under the estimator"),
    ("status", "", "ok, or why the value is undefined"),
    keys=("network_a", "network_b", "layer_a", "layer_b"),
)

CKA_DIAGONAL = _schema(
    "cka_diagonal",
    ("network_a", "", "one network"),
    ("network_b", "", "the other"),
    ("relation", "", "other seed or ceiling, untrained or floor, itself, or empty"),
    ("density_a", "", "mean density p of network_a's mixing layers"),
    ("density_b", "", "mean density p of network_b's mixing layers"),
    ("blocks", "", "blocks on the diagonal"),
    ("mean", "", "mean CKA of blocks at the same position; empty where the depths differ"),
    ("low", "", f"lower end of the interval: {INTERVAL}, or over groups of images where all are one batch"),
    ("high", "", "upper end of it"),
    ("estimator", "", "how the values were estimated"),
    ("features", "", "which tensors were compared"),
    ("data", "", "data set and split"),
    ("n", "images", "images used"),
    ("status", "", "ok, or why the mean is undefined"),
    keys=("network_a", "network_b"),
)

CKA_LAYERS = _schema(
    "cka_layers",
    _NETWORK,
    ("layer", "", "block, or module; with # and its number where it runs several times"),
    ("role", "", "what the block mixes"),
    ("index", "", "position of the block, from 0"),
    ("size", "features", "features of one image"),
    ("features", "", "which tensors these are, and what of them was kept"),
    ("aliases", "", "other modules that gave the very same tensor"),
    ("top_share", "", "share of the layer's HSIC with itself that the 5 images with the most of it carry"),
    ("status", "", "ok, or why the layer has no similarity"),
    keys=("network", "layer"),
)

SIMILARITY = _schema(
    "similarity",
    ("network_a", "", "network of the rows"),
    ("network_b", "", "network of the columns"),
    ("layer_a", "", "block of network_a"),
    ("layer_b", "", "block of network_b"),
    ("index_a", "", "position of the block, from 0"),
    ("index_b", "", "position of the block, from 0"),
    ("role_a", "", "what the block mixes"),
    ("role_b", "", "what the block mixes"),
    ("measure", "", "what is measured, with all its conventions; angular CKA is a distance, from 0 to pi/2"),
    ("value", "", "mean over batches; empty where undefined; of SVCCA biased upwards unless images are many"),
    ("low", "", f"lower end of the interval: {INTERVAL}"),
    ("high", "", "upper end of it"),
    ("chance", "", "mean under random pairings of a full batch's images; empty where not known"),
    ("n", "images", "images used"),
    ("batch_size", "images", "images of a full batch"),
    ("status", "", "ok, or why the value is undefined"),
    keys=("network_a", "network_b", "layer_a", "layer_b", "measure"),
)

SPECTRUM = _schema(
    "spectrum",
    _NETWORK,
    ("layer", "", "path of the layer"),
    ("block", "", "index of its mixing block"),
    ("role", "", "token, channel, patch, gate, dense or skip"),
    ("rows", "features", "rows of the effective matrix"),
    ("columns", "features", "columns of the effective matrix"),
    ("width", "features", "the layer's own effective width m"),
    ("expansion", "", "hidden over input size, gamma"),
    ("density", "", "share of cells that are connections, p"),
    ("connections", "", "non-zero effective weights by structure and mask"),
    ("factor_rows", "", "rows a of the matrix with independent entries"),
    ("factor_columns", "", "columns b of it"),
    ("copies", "", "how often the factor's spectrum occurs in the effective matrix"),
    ("zeros", "", "singular values that are zero by structure, of the effective matrix"),
    (
        "variance",
        "",
        "entry variance v of the null over all cells, dead rows and columns of a dense one left out",
    ),
    ("variance_source", "", "fitted (to the bulk), measured (mean square) or declared (initialisation)"),
    ("edge", "", "Marchenko-Pastur edge sqrt(v) (sqrt(a) + sqrt(b)) in singular values"),
    ("null", "", "law that the layer is compared with"),
    ("bulk_edge", "", "edge of the bulk under that law; the graph edge for masks"),
    ("null_edge", "", "where that law expects s_max: the bulk's edge, or a mask's heaviest row or column beyond it"),
    ("threshold", "", "what noise exceeds with the probability asked for"),
    ("first_order_edge", "", "corrected first-order edge of a mask"),
    ("mean_degree", "connections", "mean connections of a row of a mask, p b"),
    ("row_load", "", "energy of the heaviest row over that at which a row leaves the bulk"),
    ("column_load", "", "the same of the heaviest column"),
    ("s_max", "", "largest singular value"),
    ("c_gamma", "", "1 + sqrt(a / b), the edge where v = 1 / b"),
    ("s_max_scaled", "", "s_max / sqrt(v b), to be compared with c_gamma"),
    ("ks", "", "Kolmogorov-Smirnov distance of the bulk to the Marchenko-Pastur law"),
    ("z", "", "(s_max^2 - centre) / scale in Tracy-Widom units"),
    (
        "p_value",
        "",
        "Tracy-Widom probability of a larger s_max under the null; empty where no law is known, 0 below 1e-308",
    ),
    ("q_value", "", "p_value adjusted over all layers of the table (Benjamini and Hochberg)"),
    ("outliers", "", "singular values of the factor beyond the threshold"),
    ("beyond_bulk", "", "singular values of the factor beyond bulk_edge"),
    ("shuffles", "", "draws of the model-free null, weights shuffled within their places"),
    ("shuffle_mean", "", "mean s_max of these draws"),
    ("shuffle_p_value", "", "share of draws, the layer itself included, that reach s_max"),
    ("method", "", "how the singular values were obtained: exact or Lanczos"),
    ("residual", "", "largest residual of the values found by Lanczos, relative to s_max"),
    keys=("network", "layer"),
)

SPECTRUM_OUTLIERS = _schema(
    "spectrum_outliers",
    _NETWORK,
    ("layer", "", "path of the layer"),
    ("rank", "", "1 for the largest"),
    ("singular_value", "", "beyond the threshold"),
    ("copies", "", "how often it occurs in the effective matrix"),
    ("theta", "", "strength of a spike that would show there under the Marchenko-Pastur law (BBP inversion)"),
    ("left_participation", "rows", "effective number of rows of the left singular vector, 1/sum u^4"),
    ("right_participation", "columns", "effective number of columns of the right one"),
    ("kind", "", "hub where one row or column of a mask carries it, bulk otherwise"),
    ("line", "", "the hub's row or column"),
    ("degree", "connections", "its connections; 0 for the bulk"),
    keys=("network", "layer", "rank"),
)

SPECTRUM_SWEEP = _schema(
    "spectrum_sweep",
    ("omega", "connections", "fixed number of connections, Omega"),
    ("expansion", "", "gamma"),
    ("convention", "", "how p follows: stated Omega/(gamma m^2), figure Omega/(gamma m)^2, square Omega/m^2"),
    ("width", "features", "effective width m"),
    ("density", "", "p"),
    ("seeds", "", "matrices drawn"),
    ("s_max", "", "mean of the largest singular value"),
    ("standard_error", "", "of that mean"),
    ("predicted", "", "mean of the larger of graph edge and heaviest hub"),
    ("bulk_edge", "", "mean of the graph edge"),
    ("first_order_edge", "", "corrected first-order edge"),
    ("c_gamma", "", "1 + sqrt(gamma)"),
    keys=("omega", "expansion", "convention", "width"),
)

SINGULAR_VALUES = _schema(
    "singular_values",
    _NETWORK,
    ("layer", "", "path of the layer"),
    ("singular_value", "", "of the effective matrix, structural zeros left out"),
    (
        "multiplicity",
        "",
        "how often it occurs; below the largest ones of a layer of method Lanczos an estimate by quadrature",
    ),
    keys=("network", "layer"),
)

WIDTH_LINE = _schema(
    "width_line",
    ("omega", "connections", "fixed average connections of a layer, Omega"),
    ("expansion", "", "gamma"),
    ("width", "features", "effective width m"),
    ("density", "", "p(m) = Omega / (gamma m^2)"),
    ("mixer", "", "whether a Mixer of this width exists at this Omega"),
    keys=("omega", "expansion", "width"),
)

WIDTH_CHANNELS = _schema(
    "width_channels",
    ("omega", "connections", "fixed average connections of a layer, Omega"),
    ("expansion_token", "", "gamma_S"),
    ("expansion_channel", "", "gamma_C"),
    ("channels", "", "C"),
    ("tokens", "", "S(C), a real number"),
    ("width", "features", "effective width m = S C"),
    ("density", "", "(1/S + 1/C) / 2"),
    keys=("omega", "expansion_token", "expansion_channel", "channels"),
)

WIDTH_OPTIMA = _schema(
    "width_optima",
    ("omega", "connections", "fixed average connections of a layer, Omega"),
    ("expansion_token", "", "gamma_S"),
    ("expansion_channel", "", "gamma_C"),
    ("tokens", "", "S of the widest Mixer, a real number"),
    ("channels", "", "C of it"),
    ("width", "features", "its effective width m*"),
    ("density", "", "its density p*"),
    ("narrowest_mixer", "features", "width of the narrowest Mixer, of one token or one channel"),
    ("narrowest_sparse", "features", "width of the narrowest SW-MLP, at p = 1"),
    keys=("omega", "expansion_token", "expansion_channel"),
)

WIDTH_POINTS = _schema(
    "width_points",
    _NETWORK,
    ("family", "", "kind of network"),
    ("width", "features", "effective width m"),
    ("density", "", "mean density p of the mixing layers"),
    ("expansion", "", "gamma for which Omega = p gamma m^2"),
    ("omega", "connections", "average connections of a mixing layer, Omega"),
    ("widest_mixer", "features", "width m* = (Omega/gamma)^(2/3) of the widest Mixer at this Omega"),
    keys=("network",),
)

DIFFERENCES = _schema(
    "differences",
    ("part", "", "parameters, inputs, data, versions, files, or the table as its file is called"),
    ("kind", "", "changed, only in a, or only in b"),
    ("row", "", "which row, parameter, input, library or file"),
    ("column", "", "column of a table, or field of an input or of the data"),
    ("a", "", "what the first report has; empty where it has nothing"),
    ("b", "", "what the second has"),
    ("difference", "", "b - a of two numbers"),
    keys=("part", "kind", "row", "column"),
)

PLAN = _schema(
    "plan",
    _NETWORK,
    ("layer", "", "block or layer, or what is done with all of them"),
    ("size", "", "features of an image, shape of the matrix that is decomposed, or weights"),
    ("operations", "", "floating-point operations, estimated from shapes"),
    ("memory", "bytes", "held for it at once, estimated from shapes"),
    keys=("network", "layer"),
)

CHECKS = _schema(
    "checks",
    ("check", "", "what was computed"),
    ("found", "", "the number"),
    ("expected", "", "the number by theory, or by a slower way"),
    ("tolerance", "", "how far they may be apart"),
    ("ok", "", "whether they are that close"),
    keys=("check",),
)

SCHEMAS = {
    schema.name: schema
    for schema in (
        NETWORKS,
        LAYERS,
        CKA_CELLS,
        CKA_DIAGONAL,
        CKA_LAYERS,
        SIMILARITY,
        SPECTRUM,
        SPECTRUM_OUTLIERS,
        SPECTRUM_SWEEP,
        SINGULAR_VALUES,
        WIDTH_LINE,
        WIDTH_CHANNELS,
        WIDTH_OPTIMA,
        WIDTH_POINTS,
        DIFFERENCES,
        PLAN,
        CHECKS,
    )
}
"""Every table by its name, which is also its file's."""


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows as JSON-ready data: plain numbers, and None for what is undefined."""
    return [
        {str(name): plain(value) for name, value in row.items()}
        for row in frame.astype(object).to_dict(orient="records")
    ]


def plain(value: Any) -> Any:
    """A numpy scalar as Python's, NaN and infinities as None."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def to_json(data: Any) -> str:
    """JSON text of JSON-ready data, keys in the order given.

    Raises:
        ValueError: the data hold NaN or an infinity.
    """
    return json.dumps(data, indent=2, allow_nan=False, ensure_ascii=False)
