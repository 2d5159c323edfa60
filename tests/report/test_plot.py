"""Figures of results on one's own axes, or on a figure of their own."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis.errors import UsageError


@pytest.fixture(name="similarity", scope="module")
def _similarity(pair):
    return mx.cka(*pair, data="noise", limit=64, batch_size=32)


@pytest.fixture(name="pair", scope="module")
def _pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plot")
    return [network_of(NETWORKS[name], folder / f"{name}.safetensors") for name in ("mixer", "s-mixer")]


@pytest.fixture(name="spectra", scope="module")
def _spectra(pair):
    return mx.spectrum(*pair)


LINES = mx.width.line(1e6, 2.0)

DRAWINGS = {
    "cka_heatmap": lambda similarity, _, ax: mx.plot.cka_heatmap(similarity, ax=ax),
    "cka_means": lambda similarity, _, ax: mx.plot.cka_means(similarity, ax=ax),
    "cka_profile": lambda similarity, _, ax: mx.plot.cka_profile(similarity, ax=ax),
    "spectrum_edges": lambda _, spectra, ax: mx.plot.spectrum_edges(spectra, ax=ax),
    "spectrum_histogram": lambda _, spectra, ax: mx.plot.spectrum_histogram(spectra, "blocks.0.token.mlp.fc1", ax=ax),
    "width_lines": lambda _similarity, _spectra, ax: mx.plot.width_lines(LINES, ax=ax),
}


def content(ax):
    """What is drawn, without its style."""
    lines = [np.asarray(line.get_xydata(), dtype=float).tolist() for line in ax.lines]
    arrays = [each.get_array() for each in ax.collections]
    maps = [np.asarray(array, dtype=float).tolist() for array in arrays if array is not None]
    return ax.get_xlabel(), ax.get_ylabel(), lines, maps, [patch.get_window_extent().height > 0 for patch in ax.patches]


@pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)
def test_the_same_on_given_axes_as_on_its_own(similarity, spectra, draw):
    own = draw(similarity, spectra, None)
    assert isinstance(own, Figure)
    left, right = Figure(figsize=(8, 4)).subplots(1, 2)
    whole = draw(similarity, spectra, right)
    assert whole is right.get_figure()
    assert not left.has_data()
    assert repr(content(right)) == repr(content(own.axes[0]))
    assert right.has_data()


def test_every_drawing_is_tested():
    public = {name for name, value in vars(mx.plot).items() if getattr(value, "__module__", "") == mx.plot.__name__}
    assert {name for name in public if not name.startswith("_")} == set(DRAWINGS)


def test_the_pair_that_is_asked_for(pair, tmp_path):
    third = network_of(NETWORKS["mlp"], tmp_path / "mlp.safetensors")
    result = mx.cka(*pair, third, data="noise", limit=32)
    for a, b in (("mixer", "mlp"), ("s-mixer", "mlp")):
        (ax, *_) = mx.plot.cka_heatmap(result, a, b).axes
        expected = result.pair(a, b).to_numpy()
        np.testing.assert_allclose(np.asarray(ax.collections[0].get_array()).reshape(expected.shape), expected)
        assert ax.get_xlabel() == f"block of {b}"


def test_what_was_not_compared(similarity):
    with pytest.raises(UsageError, match=r"^mixer and nobody were not compared in this order; these were: mixer and "):
        mx.plot.cka_heatmap(similarity, "mixer", "nobody")
    with pytest.raises(UsageError, match=r"^no 'mixr' in this result; it has mixer.* \(did you mean "):
        mx.plot.cka_profile(similarity, "mixr")


def test_a_layer_that_is_not_there(spectra):
    with pytest.raises(UsageError, match=r"^no 'nobody' in this result; it has mixer, s-mixer$"):
        mx.plot.spectrum_histogram(spectra, "blocks.0.token.mlp.fc1", "nobody")
    with pytest.raises(UsageError, match=r"^no 'blocks.0.tokn.mlp.fc1' in this result; it has blocks\.0\.token"):
        mx.plot.spectrum_histogram(spectra, "blocks.0.tokn.mlp.fc1")


def test_axes_of_no_figure(spectra):
    ax = Figure().subplots()
    ax.remove()
    with pytest.raises(UsageError, match=r"^the axes belong to no figure$"):
        mx.plot.spectrum_edges(spectra, ax=ax)


def test_the_histogram_is_that_of_the_layer(spectra):
    layer = "blocks.0.channel.mlp.fc2"
    ax = mx.plot.spectrum_histogram(spectra, layer, "mixer").axes[0]
    row = spectra.summary.set_index(["network", "layer"]).loc[("mixer", layer)]
    largest = next(line for line in ax.lines if line.get_label() == "largest value")
    assert largest.get_xdata() == [row["s_max"]]
