"""What a notebook shows of results: small, escaped, and true."""

from __future__ import annotations

import html.parser

import numpy as np
import pandas as pd
import pytest
import torch

import mixanalysis as mx
from cases import NETWORKS, network_of
from mixanalysis import representation
from mixanalysis.errors import UsageError
from mixanalysis.operators import Spectrum
from mixanalysis.runs import Invocation
from mixanalysis.runs.width import width_report

EVIL = "<script>alert('x')</script>&"


class Reader(html.parser.HTMLParser):
    """Collects text, and refuses tags that don't close and those that run."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert tag in {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}, tag
        self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(shown) -> list[str]:
    """The texts of what a notebook would show."""
    markup = shown if isinstance(shown, str) else shown._repr_html_()
    reader = Reader()
    reader.feed(markup)
    reader.close()
    assert reader.stack == []
    assert len(markup) < 20_000
    return [text.strip() for text in reader.text if text.strip()]


@pytest.fixture(name="network")
def _network(tmp_path):
    return network_of(NETWORKS["mixer"], tmp_path / f"{EVIL.replace('/', '')}.safetensors")


def test_in_a_terminal(network, tmp_path):
    network = network_of(NETWORKS["mixer"], tmp_path / "a.safetensors")
    assert repr(network) == "<Network a: mixer, m = 30, p = 0.1833, 8 layers in 4 blocks>"
    spectra = mx.spectrum(network)
    told = f"8 layers, {len(spectra.outliers)} outliers"
    assert repr(spectra) == f"<SpectrumResult: {told}; see .summary, .outliers, .values>"
    similarity = mx.cka(network, data="noise", limit=32, batch_size=16)
    assert repr(similarity).startswith("<CKAResult, mean of the diagonal: a – a 1.0000; see .matrix, ")
    torch.save({"fc.weight": torch.ones(3, 4)}, tmp_path / "b.pt")
    unknown = mx.load(tmp_path / "b.pt", weights_only=True)
    assert repr(unknown) == "<Network b: unknown architecture, 1 matrices>"


@pytest.mark.parametrize("analysis", [mx.cka, mx.spectrum])
def test_a_path_is_no_network(analysis):
    with pytest.raises(UsageError, match=r"expected networks as load\(\) gives them.*, got a str; .*load a"):
        analysis("a.safetensors")


def test_of_cka(network):
    result = mx.cka(network, data="noise", limit=33, batch_size=16)
    shown = read(result)
    assert network.label in shown
    assert shown.count("itself") == 1
    for value in result.matrix.to_numpy().ravel():
        assert f"{value:.4g}" in shown
    assert result.warnings
    assert set(result.warnings) <= set(shown)


def test_of_spectra(network):
    result = mx.spectrum(network)
    shown = read(result)
    assert all(f"{value:.4g}" in shown for value in result.summary["s_max"])
    assert network.label in shown


def test_of_a_network(network):
    shown = read(network)
    assert f"m = {network.width}" in shown
    assert f"Ω = {network.omega:,.6g}" in shown
    assert [layer.name for layer in network.layers] == [text for text in shown if text.startswith("blocks.")]


def test_of_a_spectrum(network):
    operator = network.layers[0].operator
    shown = read(operator.spectrum())
    assert f"{operator.spectrum().count:,}" in shown
    assert f"{operator.spectrum().values[0]:.6g} to {operator.spectrum().values[-1]:.6g}" in shown
    assert "none" in read(Spectrum.of(np.empty(0), 3))


def test_of_width(network, tmp_path):
    result = width_report([network], [1e6], (2.0, 2.0), tmp_path / "out", Invocation("width"))
    shown = read(result)
    assert f"{result.optima['width'][0]:.4g}" in shown
    assert network.label in shown


def test_a_large_table_is_cut_and_says_so():
    frame = pd.DataFrame([[EVIL] * 20] * 30, columns=[f"{EVIL}{index}" for index in range(20)])
    shown = read(representation.table(EVIL, frame))
    assert shown[0] == EVIL
    assert shown.count(EVIL) == 12 * 12 + 1
    assert shown[-1] == "12 of 30 rows, 12 of 20 columns"


def test_a_gap():
    assert read(representation.table("t", pd.DataFrame({"x": [float("nan"), 0.123456]})))[-2:] == ["–", "0.1235"]
