"""Every analysis on every relative of MLP-Mixer, or a clear refusal."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mixanalysis as mx
from hand_made import CASES
from hand_made.parts import matrix_of
from mixanalysis.datasets import open_dataset
from mixanalysis.errors import NothingToAnalyseError
from mixanalysis.families.loading import load
from mixanalysis.runs.inspect import describe, facts
from mixanalysis_cli.app import app

FAMILIES = (
    "resmlp",
    "gmixer",
    "gmlp",
    "vanillamixer",
    "paramixer",
    "symmixer",
    "asymmixer",
    "wide MLP",
    "dimension mixer, sparse linear",
    "dimension mixer, sparse MLP",
    "patch mixer",
    "ninformer",
    "permutator",
    "MLP, Sequential",
    "MLP, batch norm",
)


@pytest.fixture(params=FAMILIES, scope="module")
def case(request):
    return CASES[request.param]


@pytest.fixture(scope="module")
def network(case, tmp_path_factory):
    path = tmp_path_factory.mktemp("relatives") / "a.pt"
    torch.save(case.state, path)
    return load(path, assume=case.assume)


def test_description(case, network):
    found = json.loads(json.dumps(describe(network), allow_nan=False))
    assert found["width"] == case.width
    assert found["layout"] == case.layout
    assert len(found["layers"]) == len(case.layers)
    assert all(isinstance(name, str) and value for name, value in facts(network))


def test_spectrum(case, network):
    found = mx.spectrum(network)
    for (_, row), expected in zip(found.summary.iterrows(), case.layers, strict=True):
        matrix = matrix_of(expected.apply, expected.into)[0].numpy()
        exact = np.linalg.svd(matrix, compute_uv=False)
        values = found.values[found.values["layer"] == row["layer"]]
        assert row["s_max"] == pytest.approx(exact[0], rel=1e-9)
        listed = np.repeat(values["singular_value"], values["multiplicity"].astype(int))
        np.testing.assert_allclose(listed, exact[: len(listed)], atol=1e-9)
        assert len(listed) + row["zeros"] == len(exact)


def test_cka_with_itself(network):
    data = open_dataset("digits", shape=network.config.input_shape).first(48)
    matrix = mx.cka(network, data=data, batch_size=16).matrix
    np.testing.assert_allclose(np.diag(matrix), 1, atol=1e-6)
    assert matrix.shape == (len(network.taps),) * 2


def test_width(case, network):
    point = mx.width.points([network]).iloc[0]
    assert point["width"] == case.width
    assert point["omega"] == pytest.approx(point["density"] * point["expansion"] * case.width**2)
    assert 0 < point["density"] <= 1
    assert point["widest_mixer"] > 0


BRANCHED = {
    "gmixer": "value, blocks.0.token.mlp.gate, blocks.0.token.mlp.fc2",
    "gmlp": "fc1, blocks.0.mlp.gate.proj, blocks.0.mlp.fc2",
    "paramixer": "token.fc1, blocks.0.mlp.token.fc2, blocks.0.mlp.channel.fc1",
    "permutator": "height.linear, blocks.0.token.mlp.width.linear",
}


@pytest.mark.parametrize("name", BRANCHED)
def test_branches_have_no_product(name, tmp_path):
    torch.save(CASES[name].state, tmp_path / "a.pt")
    with pytest.raises(
        NothingToAnalyseError, match=f"a {name} has no products: its block 0 has branches .*{BRANCHED[name]}"
    ):
        mx.spectrum(load(tmp_path / "a.pt", assume=CASES[name].assume), products=True)


@pytest.mark.parametrize("name", ["resmlp", "vanillamixer", "dimension mixer, sparse MLP", "wide MLP, dense"])
def test_products_of_chains(name, tmp_path):
    case = CASES[name]
    torch.save(case.state, tmp_path / "a.pt")
    found = mx.spectrum(load(tmp_path / "a.pt", assume=case.assume), products=True).summary
    block = case.layers[: len(case.layers) // len(found)]
    product = None
    for layer in block:
        matrix = matrix_of(layer.apply, layer.into)[0]
        product = matrix if product is None else matrix @ product
    assert found["s_max"][0] == pytest.approx(float(torch.linalg.matrix_norm(product, 2)), rel=1e-9)


@pytest.mark.parametrize("command", ["inspect", "spectrum", "cka", "width", "report"])
def test_commands(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = CASES["permutator"]
    torch.save(case.state, "a.pt")
    options = ["--assume", "segments=3", *(["--limit", "32"] if command in ("cka", "report") else [])]
    answer = CliRunner().invoke(app, [command, "a.pt", *options])
    assert (answer.exit_code, answer.exception) == (0, None), answer.stderr
    assert command != "inspect" or f"m = {case.width}" in answer.stdout
