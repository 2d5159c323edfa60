"""The tables of singular values, their outliers, and sweeps over widths."""

from __future__ import annotations

from mixanalysis.results import NETWORK, Schema

SPECTRUM = Schema.of(
    "spectrum",
    NETWORK,
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
        "Tracy-Widom probability of a larger s_max under the null, at the centre and scale of a law or of draws; "
        "empty where no null fits, 0 below 1e-308",
    ),
    (
        "check",
        "",
        "what the null assumes of a dense matrix and the weights contradict: ok, or the failing assumptions in words; "
        "empty where nothing is checked",
    ),
    (
        "check_p_value",
        "",
        "probability of the most unlikely check under independent entries, times the number of checks",
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

SPECTRUM_OUTLIERS = Schema.of(
    "spectrum_outliers",
    NETWORK,
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

SPECTRUM_SWEEP = Schema.of(
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

SINGULAR_VALUES = Schema.of(
    "singular_values",
    NETWORK,
    ("layer", "", "path of the layer"),
    ("singular_value", "", "of the effective matrix, structural zeros left out"),
    (
        "multiplicity",
        "",
        "how often it occurs; below the largest ones of a layer of method Lanczos an estimate by quadrature",
    ),
    keys=("network", "layer"),
)

SCHEMAS = (SPECTRUM, SPECTRUM_OUTLIERS, SPECTRUM_SWEEP, SINGULAR_VALUES)
