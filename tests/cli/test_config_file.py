"""`--config`: a TOML file gives the values that the command line leaves open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(name="config")
def _config(run):
    def write(text: str) -> str:
        Path("options.toml").write_text(text, encoding="utf-8")
        return "options.toml"

    return write


def parameters(folder: str) -> tuple[dict, dict]:
    manifest = json.loads(Path(folder, "manifest.json").read_text(encoding="utf-8"))
    return manifest["parameters"], manifest["parameter_sources"]


def test_its_values_are_used(run, config, networks):
    path = config(
        'limit = 64\nbatch-size = 32\nlayers = ["0*"]\nfeatures = "after-skip"\njson = true\noutput = "out"\n'
    )
    answer = run("cka", networks["mlp"], "--config", path)
    assert (answer.code, answer.stderr) == (0, "")
    (cell,) = json.loads(answer.stdout)["cka"]
    assert (cell["layer_a"], cell["n"], cell["batch_size"]) == ("0", 64, 32)
    assert "after skip" in cell["features"]
    values, sources = parameters("out")
    assert (values["limit"], values["layers"], values["config"]) == (64, ["0*"], "options.toml")
    assert (sources["limit"], sources["layers"], sources["seed"]) == ("default map", "default map", "default")
    assert not Path("reports").exists()


def test_the_command_line_comes_first(run, config, networks):
    path = config("limit = 64\nbatch_size = 32\n")
    answer = run("cka", networks["mlp"], "--limit", 96, "--config", path, "--json")
    (cell, *_) = json.loads(answer.stdout)["cka"]
    assert (cell["n"], cell["batch_size"]) == (96, 32)
    _, sources = parameters("reports/cka")
    assert (sources["limit"], sources["batch_size"]) == ("commandline", "default map")


def test_arguments_may_stand_in_it(run, config, networks):
    path = config(f'checkpoints = ["{networks["mlp"]}", "{networks["mixer"]}"]\njson = true\n')
    answer = run("inspect", "--config", path)
    assert [found["family"] for found in json.loads(answer.stdout)] == ["mlp", "mixer"]


def test_training_may_be_described(run, config):
    path = config("epochs = 0\ndepth = 1\nlimit = 64\nchannels = 4\nexpansion-token = 1.5\nlr = 0.01\njson = true\n")
    answer = run("train", "mixer", "--config", path)
    found = json.loads(answer.stdout)
    assert (found["config"]["channels"], found["config"]["token_hidden"]) == (4, 24)
    assert (found["training"]["lr"], found["training"]["images"]) == (0.01, 64)


WRONG = {
    "unknown key": ("limt = 64\nseed = 1\n", "options.toml: unknown limt; known are assume, bandwidth, batch_axis, "),
    "two unknown keys": ("b = 1\na = 1\n", "options.toml: unknown a, b; known are "),
    "table": ("[cka]\nlimit = 64\n", "options.toml: unknown cka; known are "),
    "config in config": ('config = "b.toml"\n', "options.toml: unknown config; known are "),
    "no toml": ("limit = \n", "options.toml: not a readable TOML file: "),
    "wrong type": ('limit = "many"\n', "Invalid value for '--limit': "),
    "out of range": ("limit = 0\n", "Invalid value for '--limit': "),
    "unknown choice": ('format = "gif"\n', "Invalid value for '--format': "),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(run, config, networks, text, said):
    answer = run("cka", networks["mlp"], "--config", config(text))
    assert answer.code == 2
    assert said in answer.error
    assert run.files() == ["options.toml"]


def test_a_file_that_can_not_be_read(run, networks):
    answer = run("cka", networks["mlp"], "--config", "nope.toml")
    assert answer.code == 2
    assert "nope.toml: not a readable TOML file: " in answer.error
    Path("latin.toml").write_bytes("# größe\nlimit = 64\n".encode("latin-1"))
    answer = run("cka", networks["mlp"], "--config", "latin.toml")
    assert answer.code == 2
    assert "latin.toml: not a readable TOML file: 'utf-8' codec" in answer.error


@pytest.mark.parametrize("value", ["true", "1", '"yes"'])
def test_a_switch_of_another_kind(run, config, networks, value):
    answer = run("inspect", networks["mlp"], "--config", config(f"json = {value}\n"))
    assert answer.code == 0
    assert json.loads(answer.stdout)[0]["family"] == "mlp"


def test_a_wrong_value_is_told_with_its_file(run, config, networks):
    path = config('batch-size = "many"\nstyle = "slide"\n')
    answer = run("report", networks["mlp"], "--config", path)
    assert answer.code == 2
    assert "'--batch-size'" in answer.error
    assert "; it stands as batch_size in options.toml (see " in answer.error
    answer = run("report", networks["mlp"], "--config", path, "--batch-size", 32)
    assert "(did you mean slides?); it stands as style in options.toml" in answer.error
    answer = run("report", networks["mlp"], "--config", path, "--batch-size", 0)
    assert "options.toml" not in answer.error
