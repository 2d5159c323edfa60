"""Batches that are too large for the memory run in parts, and give what whole ones give."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import nn

import mixanalysis as mx
from mixanalysis.errors import DataError
from mixanalysis.features import Call
from mixanalysis.similarity import FeatureExtractor
from mixanalysis.similarity.sources.batches import raw_batches
from mixanalysis.similarity.sources.microbatch import out_of_memory, run_in_parts

ERRORS = {
    "accelerator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "host": RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"),
    "python": MemoryError(),
}


class Limited(nn.Module):
    """Two layers, the second of which fails for more than `most` examples; it is called with a tensor or by name."""

    def __init__(self, most, error=ERRORS["accelerator"], seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(5, 7).double(), nn.Linear(7, 3).double()
        self.most, self.error, self.sizes = most, error, []

    def forward(self, x, shift=None):
        hidden = self.first(x if shift is None else x + shift).relu()
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise self.error
        return self.second(hidden)


def subject(label, most, **options):
    return FeatureExtractor(label, Limited(most, **options), {"a": "first", "b": "second"}, batch_axis=0)


def batches(sizes=(16, 16, 13), seed=1):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 5, generator=generator, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize("estimator", ["minibatch", "full"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_parts_give_what_the_whole_gives(estimator, error):
    limited = subject("net", 5, error=error)
    found = mx.cka(limited, data=batches(), estimator=estimator)
    expected = mx.cka(subject("net", 99), data=batches(), estimator=estimator)
    pd.testing.assert_frame_equal(found.cells, expected.cells, rtol=0, atol=1e-13)
    # once the size is known, no more batch is tried as a whole
    assert limited.module.sizes == [16, 8, *[4] * 4, *[4] * 4, 4, 4, 4, 1]
    assert expected.warnings == ()
    (warning,) = found.warnings
    assert warning.startswith("net: 3 batches needed more memory than there is and ran in parts of 4 or more images")


def test_named_tensors_are_cut():
    named = [{"x": batch, "shift": torch.full((), 0.5, dtype=torch.float64)} for batch in batches()]
    found = mx.cka(subject("net", 5), data=named).cells
    pd.testing.assert_frame_equal(found, mx.cka(subject("net", 99), data=named).cells, rtol=0, atol=1e-13)


def test_a_single_example_is_too_much():
    message = r"net: batch 0: out of memory for a single example; use a smaller --dtype, or a --device with more memory"
    with pytest.raises(DataError, match=message):
        mx.cka(subject("net", 0), data=batches())


def test_statistics_of_the_whole_batch_are_not_cut():
    net = subject("net", 5)
    net.module.add_module("norm", nn.BatchNorm1d(3, track_running_stats=False))
    message = r"net: batch 0: out of memory, and norm takes its statistics from the whole batch; use a smaller --batch-"
    with pytest.raises(DataError, match=message):
        mx.cka(net, data=batches())


def test_what_can_not_be_cut():
    named = [{"x": batch, "shift": [1, 2]} for batch in batches()]
    module = Limited(5)
    with pytest.raises(DataError, match=r"out of memory, and shift of a batch of named tensors can't be cut"):
        run_in_parts(module, {"a": "first"}, named[0], lambda *_: None, "flatten", 8)


def test_parts_that_run_other_modules():
    module = Limited(99)
    module.forward = lambda x: module.second(module.first(x)) if len(x) == 8 else module.first(x)
    with pytest.raises(DataError, match=r"parts of a batch run other modules than all of it; use a smaller --batch"):
        run_in_parts(module, {"b": "second"}, batches((12,))[0], lambda *_: None, "flatten", 8)


def test_a_gram_matrix_that_is_too_large():
    net = subject("net", 99)

    def make(_features):
        raise ERRORS["host"]

    (raw,) = raw_batches(batches((4,)), 4)
    with pytest.raises(DataError, match=r"net: out of memory for the Gram matrix of a; use a smaller --batch-size"):
        net.observe(raw, make)


def test_other_errors_are_no_lack_of_memory():
    assert not out_of_memory(RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(DataError, match="net: fails on batch 0 of shape 16 x 5: RuntimeError: of another kind"):
        mx.cka(subject("net", 5, error=RuntimeError("of another kind")), data=batches())


def test_aliases_of_parts_are_those_of_the_whole():
    module = nn.Sequential(nn.Linear(5, 3).double(), nn.Identity())
    seen = []
    aliases, size = run_in_parts(
        module, {"a": "0", "b": "1"}, batches((6,))[0], lambda call, x: seen.append((call, x.shape)), "flatten", 3
    )
    assert (aliases, size) == ({Call("b", 0): Call("a", 0)}, 3)
    assert seen == [(Call("a", 0), (6, 3))]
