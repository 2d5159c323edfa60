"""fly's Mixer: matrices kept as blocks or Monarch factors, its logits from formulas written here alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file

from families.naive_mixers import PROJECTS, Size
from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError
from mixanalysis.families import LAYOUTS
from mixanalysis.families.loading import load
from mixanalysis.network import Structure, Structures
from mixanalysis.operators import BlockDiagonal, Lift

TIMM = PROJECTS["timm"]
MATRICES = ("mlp_tokens.fc1", "mlp_tokens.fc2", "mlp_channels.fc1", "mlp_channels.fc2")


@dataclass(frozen=True)
class Case:
    """A Mixer's size, and for each of `MATRICES` its kind ("" for dense) and number of blocks."""

    size: Size
    kinds: tuple[str, str, str, str]
    blocks: tuple[int, int, int, int]
    shuffle: bool = False


CASES = {
    "blocks": Case(Size(2, 2, 6, 8, 12, 2), ("blocks",) * 4, (2, 4, 3, 2)),
    "blocks, padded": Case(Size(3, 3, 7, 5, 10, 1), ("blocks",) * 4, (4, 2, 3, 4)),
    "blocks, shuffled": Case(Size(2, 3, 6, 8, 12, 2), ("blocks",) * 4, (2, 4, 3, 2), shuffle=True),
    "blocks, shuffled and padded": Case(Size(3, 3, 7, 5, 10, 1), ("blocks",) * 4, (4, 2, 3, 4), shuffle=True),
    "monarch": Case(Size(2, 2, 6, 8, 12, 2), ("monarch",) * 4, (2, 2, 3, 3)),
    "monarch, padded": Case(Size(3, 3, 7, 5, 10, 1), ("monarch",) * 4, (4, 4, 4, 4)),
    "channels alone": Case(Size(2, 2, 6, 8, 12, 2), ("", "", "monarch", "blocks"), (1, 1, 2, 3)),
    "tokens alone": Case(Size(2, 2, 4, 4, 4, 2), ("blocks", "monarch", "", ""), (2, 2, 1, 1)),
}


def sizes_of(case):
    """(in, out) of each of `MATRICES`."""
    s, c = case.size.patches, case.size.channels
    token, channel = case.size.token_hidden, case.size.channel_hidden
    return ((s, token), (token, s), (c, channel), (channel, c))


def state_of(case):
    """A checkpoint: timm's, with structured matrices in place of dense ones."""
    generator = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) / math.sqrt(shape[-1])

    state = TIMM.state(case.size)
    for block in range(case.size.depth):
        for name, kind, count, (into, out) in zip(MATRICES, case.kinds, case.blocks, sizes_of(case), strict=True):
            rows, columns = math.ceil(out / count), math.ceil(into / count)
            path = f"blocks.{block}.{name}"
            if kind:
                del state[f"{path}.weight"]
            if kind == "blocks":
                state[f"{path}.weight"] = normal(count, rows, columns)
            elif kind == "monarch" and columns * count < rows * count:
                state |= {f"{path}.blkdiag1": normal(count, columns, columns)}
                state |= {f"{path}.blkdiag2": normal(count, rows, columns)}
            elif kind == "monarch":
                state |= {f"{path}.blkdiag1": normal(count, rows, columns)}
                state |= {f"{path}.blkdiag2": normal(count, rows, rows)}
    return state


def dense_of(state, path, size, *, shuffle):
    """The (out, in) matrix of a layer, column by column: what it does to each unit vector."""
    into, out = size
    if f"{path}.weight" in state and state[f"{path}.weight"].ndim == 2:
        return state[f"{path}.weight"]
    columns = []
    for j in range(into):
        if f"{path}.weight" in state:
            columns.append(by_blocks(state[f"{path}.weight"], unit(state[f"{path}.weight"], j), shuffle=shuffle)[:out])
        else:
            first, second = state[f"{path}.blkdiag1"], state[f"{path}.blkdiag2"]
            columns.append(by_monarch(first, second, unit(first, j))[:out])
    return torch.stack(columns, dim=1)


def unit(blocks, j):
    x = torch.zeros(blocks.shape[0] * blocks.shape[2], dtype=torch.float64)
    x[j] = 1
    return x


def by_blocks(weight, x, *, shuffle=False):
    """Block after block; shuffled, block g first gets the entries g, g + 1, ... of each group in turn."""
    count, _, columns = weight.shape
    if shuffle:
        x = torch.stack([x[group * columns + entry] for entry in range(columns) for group in range(count)])
    return torch.cat([weight[i] @ x[i * columns : (i + 1) * columns] for i in range(count)])


def by_monarch(first, second, x):
    """'b (r l) -> b (l r)' after the first factor, and 'b l s -> b (s l)' after the second."""
    (count, rows, columns), x = second.shape, by_blocks(first, x)
    x = torch.stack([x[i * count + j] for j in range(count) for i in range(columns)])
    x = by_blocks(second, x)
    return torch.stack([x[j * rows + i] for i in range(rows) for j in range(count)])


def with_dense(case, state):
    """timm's checkpoint of the same network."""
    dense = {name: value for name, value in state.items() if "blkdiag" not in name}
    for block in range(case.size.depth):
        for name, size in zip(MATRICES, sizes_of(case), strict=True):
            path = f"blocks.{block}.{name}"
            dense[f"{path}.weight"] = dense_of(state, path, size, shuffle=case.shuffle)
    return dense


def loaded(tmp_path, case):
    """The state, and its network."""
    state = state_of(case)
    save_file(state, tmp_path / "a.safetensors")
    assume = {"shuffle": "yes"} if case.shuffle else {}
    if case.size.rows != case.size.columns:
        assume["image"] = case.size.image
    return state, load(tmp_path / "a.safetensors", assume=assume)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_logits_are_those_of_fly(tmp_path, case):
    state, network = loaded(tmp_path, case)
    images = TIMM.images(case.size)
    assert network.provenance.layout == "fly-mixer"
    assert network.provenance.unused == ()
    expected = TIMM.logits(with_dense(case, state), case.size, images)
    torch.testing.assert_close(network.module()(images), expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layers_are_structured_and_effective(tmp_path, case):
    state, network = loaded(tmp_path, case)
    matrices = TIMM.matrices(with_dense(case, state), case.size)
    for layer, matrix in zip(network.layers, matrices, strict=True):
        torch.testing.assert_close(layer.operator.dense(), matrix, rtol=0, atol=1e-12)
        assert layer.connections == layer.operator.nnz == int((matrix != 0).sum())
        assert layer.density == pytest.approx(float((matrix != 0).double().mean()))
        torch.testing.assert_close(torch.as_tensor(layer.operator.row_norms()), matrix.norm(dim=1))
    assert sum(layer.bias is None for layer in network.layers) == 0


def test_blocks_stay_blocks(tmp_path):
    _, network = loaded(tmp_path, CASES["blocks"])
    operator = network.layers[0].operator
    assert isinstance(operator, Lift)
    assert isinstance(operator.factor, BlockDiagonal)
    assert network.config.structures == Structures(
        *(Structure("block-diagonal", count) for count in CASES["blocks"].blocks)
    )


def test_exactly_one_layout_recognises_it(tmp_path):
    for case in CASES.values():
        save_file(state_of(case), tmp_path / "a.safetensors")
        checkpoint = open_checkpoint(tmp_path / "a.safetensors")
        assert [name for name, layout in LAYOUTS.items() if layout.recognise(checkpoint)] == ["fly-mixer"]


def test_dense_matrices_are_timm(tmp_path):
    save_file(TIMM.state(CASES["blocks"].size), tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"in the fly-mixer layout: none of its matrices is kept as blocks$"):
        load(tmp_path / "a.safetensors", "fly-mixer")
    save_file(state_of(CASES["blocks"]), tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="isn't in the timm-mixer layout: its matrices are kept as blocks, as fl"):
        load(tmp_path / "b.safetensors", "timm-mixer")


def test_sizes_come_from_biases(tmp_path):
    state = state_of(CASES["blocks, padded"])
    del state["blocks.0.mlp_channels.fc2.bias"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.0\.mlp_channels\.fc2\.bias is missing, without which the size"):
        load(tmp_path / "a.safetensors")


def test_a_number_of_blocks_that_does_not_fit_is_told(tmp_path):
    case = CASES["blocks"]
    state = state_of(case) | {"blocks.1.mlp_tokens.fc1.weight": torch.ones(4, 2, 1, dtype=torch.float64)}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp_tokens\.fc1\.weight has shape 4 x 2 x 1, expected 2 x"):
        load(tmp_path / "a.safetensors")


def test_tensors_of_any_other_shape_are_a_checkpoint_error(tmp_path):
    for case in (CASES["blocks"], CASES["monarch"]):
        state = state_of(case)
        for index, name in enumerate(name for name in state if "blocks.0" in name):
            shape = ((), (0,), (3,), (0, 0, 0), (2, 3, 1, 1))[index % 5]
            save_file(state | {name: torch.ones(shape, dtype=torch.float64)}, tmp_path / "a.safetensors")
            with pytest.raises(CheckpointError):
                load(tmp_path / "a.safetensors")
