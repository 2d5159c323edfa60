"""Networks of the user's own code: found, built, filled strictly, and tapped."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from mixanalysis.checkpoints import open_checkpoint
from mixanalysis.errors import CheckpointError, NothingToAnalyseError, UsageError
from mixanalysis.runs.inputs import Models
from mixanalysis.similarity import Factory, UserModel
from mixanalysis.similarity.sources.factories import filled

CODE = """
import torch
from torch import nn

def small():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

class Box:
    small = staticmethod(small)

def broken():
    raise RuntimeError("no such dataset")

def table():
    return {"weight": torch.ones(3)}

def wants(depth):
    return small()

number = 3
"""


@pytest.fixture(name="code", autouse=True)
def _code(tmp_path, monkeypatch):
    """A file of code in the current folder, forgotten afterwards."""
    (tmp_path / "own_nets.py").write_text(CODE)
    (tmp_path / "own_broken.py").write_text("import nothing_of_this_name")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("own_nets", "own_broken"):
        sys.modules.pop(name, None)


def saved(module, path, **others):
    torch.save({"state_dict": {f"module.{name}": value for name, value in module.state_dict().items()} | others}, path)
    return open_checkpoint(path)


@pytest.mark.parametrize("spec", ["own_nets:small", "own_nets:Box.small"])
def test_a_module_is_built_from_the_current_folder(spec):
    assert isinstance(Factory(spec).build(), nn.Sequential)


WRONG = {
    "own_nets": r"--model-a must be package.module:factory, got 'own_nets'",
    ":small": r"--model-a must be package.module:factory, got ':small'",
    "own_nets:": r"--model-a must be package.module:factory, got 'own_nets:'",
    "own_missing:make": r"--model-a own_missing:make: importing own_missing failed: ModuleNotFoundError: No module ",
    "own_broken:make": r"importing own_broken failed: ModuleNotFoundError: No module named 'nothing_of_this_name'",
    "own_nets:large": r"own_nets has no large: AttributeError: ",
    "own_nets:number": r"--model-a own_nets:number: is a int, not a function or class",
    "own_nets:broken": r"calling it without arguments failed: RuntimeError: no such dataset",
    "own_nets:wants": r"calling it without arguments failed: TypeError: ",
    "own_nets:table": r"--model-a own_nets:table: gives a dict, expected a torch.nn.Module",
}


@pytest.mark.parametrize(("spec", "message"), WRONG.items(), ids=WRONG)
def test_code_that_is_of_no_use(spec, message):
    with pytest.raises(UsageError, match=message):
        Factory(spec, "--model-a").build()


def test_weights_and_buffers_are_the_checkpoint_s(tmp_path):
    module = Factory("own_nets:small").build().double()
    with torch.no_grad():
        module[2][1].running_mean.fill_(0.25)
    model = UserModel.of(saved(module, tmp_path / "a.pt"), Factory("own_nets:small"))
    assert (model.label, model.provenance.layout) == ("a", "own_nets:small")
    assert model.provenance.wrapper == "state_dict > module."
    assert not model.module.training
    x = torch.randn(6, 5)
    torch.testing.assert_close(model.module(x), module.eval().float()(x))
    assert {value.dtype for value in model.module.parameters()} == {torch.float32}, "the module's own precision"


def test_names_and_shapes_that_differ_are_all_listed(tmp_path):
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Sequential(nn.Linear(4, 2)))
    checkpoint = saved(module, tmp_path / "a.pt", **{"module.head.bias": torch.ones(2)})
    message = (
        r"a\.pt: its tensors aren't those of own_nets:small: missing: 2\.1\.weight, 2\.1\.bias, 2\.1\.running_mean, "
        r"2\.1\.running_var, 2\.1\.num_batches_tracked; unexpected: head\.bias; of another shape: "
        r"2\.0\.weight \(2 x 4, expected 3 x 4\), 2\.0\.bias \(2, expected 3\)$"
    )
    with pytest.raises(CheckpointError, match=message):
        UserModel.of(checkpoint, Factory("own_nets:small"))


def test_long_lists_are_cut(tmp_path):
    checkpoint = saved(nn.Linear(2, 2), tmp_path / "a.pt", **{f"module.x{i}": torch.ones(1) for i in range(11)})
    with pytest.raises(CheckpointError, match=r"unexpected: x0, .*, x7 and 3 more$"):
        filled(nn.Linear(2, 2), checkpoint, "it")


def test_a_tensor_of_two_names_is_needed_once(tmp_path):
    module = Factory("own_nets:Tied").build()
    state = {name: value for name, value in module.state_dict().items() if name != "second.weight"}
    torch.save(state, tmp_path / "a.pt")
    model = UserModel.of(open_checkpoint(tmp_path / "a.pt"), Factory("own_nets:Tied"))
    assert torch.equal(model.module.second.weight, module.first.weight)


TAPS = {
    "all without parts": ((), (), ["0", "1", "2.0", "2.1"]),
    "also with parts": (("2", "2.0"), (), ["2", "2.0"]),
    "but some": ((), ("2.*",), ["0", "1"]),
}


@pytest.mark.parametrize(("layers", "exclude", "expected"), TAPS.values(), ids=TAPS)
def test_taps_are_chosen_by_the_names_of_modules(layers, exclude, expected, tmp_path):
    model = UserModel.of(saved(Factory("own_nets:small").build(), tmp_path / "a.pt"), Factory("own_nets:small"))
    subject = model.subject(layers, exclude, dtype=torch.float64, control="floor")
    assert list(subject.paths) == expected
    assert (subject.label, subject.control) == ("a", "floor")
    assert next(subject.module.parameters()).dtype == torch.float64


@pytest.mark.parametrize(
    ("layers", "exclude", "message"),
    [
        (("blocks.*",), (), r"a: the model has no submodule like blocks\.\*"),
        ((), ("*",), r"a: no module left to analyse"),
    ],
)
def test_no_module_is_left(layers, exclude, message, tmp_path):
    model = UserModel.of(saved(Factory("own_nets:small").build(), tmp_path / "a.pt"), Factory("own_nets:small"))
    with pytest.raises(NothingToAnalyseError, match=message):
        model.subject(layers, exclude)


def test_the_code_is_known_by_its_content(tmp_path):
    checkpoint = saved(Factory("own_nets:Tied").build(), tmp_path / "a.pt")
    before = UserModel.of(checkpoint, Factory("own_nets:Tied")).code
    assert before == UserModel.of(checkpoint, Factory("own_nets:Tied")).code
    (tmp_path / "own_nets.py").write_text(CODE + "# changed")
    assert before != UserModel.of(checkpoint, Factory("own_nets:Tied")).code


def test_who_builds_what():
    every = Models("m:every", "m:first", "m:second").factories(3, 2)
    assert [(f.spec, f.option) for f in every] == [
        ("m:first", "--model-a"),
        ("m:second", "--model-b"),
        ("m:every", "--model"),
        ("m:first", "--model-a"),
        ("m:first", "--model-a"),
    ]
    assert Models().factories(2, 1) == [None, None, None]
    assert [f and f.spec for f in Models(first="m:first").factories(2, 0)] == ["m:first", None]
    assert [f and f.spec for f in Models(every="m:every").factories(1, 1)] == ["m:every", "m:every"]
    with pytest.raises(UsageError, match=r"^--model-b: there is no second checkpoint$"):
        Models(second="m:second").factories(1, 1)
