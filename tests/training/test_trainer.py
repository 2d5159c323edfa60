"""The trainer: repeatable to the bit, resumable, and never half-written."""

from __future__ import annotations

import dataclasses
import json
import math
from hashlib import sha256

import pytest
import torch

import mixanalysis as mx
from mixanalysis.datasets import Dataset
from mixanalysis.errors import CheckFailedError, DataError, UsageError
from mixanalysis.families import FAMILIES
from mixanalysis.families.sizes import Sizes, configure
from mixanalysis.network import Patches, to_dict
from mixanalysis.training import TrainingConfig, run_key, trainer

PATCHES = Patches(8, 8, 1, 4)
SIZES = {
    "mixer": Sizes(channels=4, depth=1),
    "rp-mixer": Sizes(channels=4, depth=1),
    "s-mixer": Sizes(channels=4, depth=1),
    "sw-mlp": Sizes(channels=4, depth=2),
}
QUICK = TrainingConfig(epochs=3, lr=3e-3, weight_decay=0.1, batch_size=32)
STEPS = 3  # of an epoch: 80 images in batches of 32


def config_of(family="mixer"):
    return configure(family, PATCHES, 10, SIZES[family])


@pytest.fixture(scope="module")
def data():
    return mx.open_dataset("digits", "train").first(80), mx.open_dataset("digits", "test").first(40)


class StopError(Exception):
    """The power failed."""


def stop_after(step):
    def progress(done, _total):
        if done == step:
            raise StopError

    return progress


def forbidden(_done, _total):
    pytest.fail("a training step ran")


def spied(monkeypatch):
    """The module, with its buffers, as it is handed to the checkpoint."""
    states = []
    save = trainer.save_checkpoint

    def spy(path, config, state, record):
        states.append({name: tensor.clone() for name, tensor in state.items()})
        save(path, config, state, record)

    monkeypatch.setattr(trainer, "save_checkpoint", spy)
    return states


class TestRepeatable:
    @pytest.mark.parametrize("family", SIZES)
    def test_two_runs_give_the_same_bytes(self, family, data, tmp_path):
        paths = [mx.train(config_of(family), data, tmp_path / name, QUICK) for name in ("a", "b")]
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_whatever_was_drawn_before(self, data, tmp_path):
        torch.manual_seed(1)
        first = mx.train(config_of(), data, tmp_path / "a", QUICK)
        torch.manual_seed(2)
        second = mx.train(config_of(), data, tmp_path / "b", QUICK)
        assert first.read_bytes() == second.read_bytes()

    def test_the_global_generator_is_not_touched(self, data, tmp_path):
        state = torch.get_rng_state()
        mx.train(config_of("sw-mlp"), data, tmp_path / "a", QUICK)
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_seed_counts(self, data, tmp_path, monkeypatch):
        states = spied(monkeypatch)
        for seed in (0, 1):
            mx.train(config_of("sw-mlp"), data, tmp_path / str(seed), dataclasses.replace(QUICK, seed=seed))
        for name in ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.mask", "stem.proj.weight"):
            assert not torch.equal(states[0][name], states[1][name])

    def test_each_epoch_has_an_order_of_its_own(self, data):
        orders = [
            torch.cat(
                [labels for _, labels in trainer._shuffled(data[0], dataclasses.replace(QUICK, seed=seed), epoch)]
            )
            for seed, epoch in ((0, 0), (0, 1), (1, 0))
        ]
        assert len({tuple(order.tolist()) for order in orders}) == 3
        for order in orders:
            assert torch.equal(order.sort().values, data[0].labels.sort().values)


class TestResume:
    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    @pytest.mark.parametrize("family", ["mixer", "sw-mlp"])
    def test_resumed_equals_uninterrupted(self, family, optimizer, data, tmp_path):
        settings = dataclasses.replace(QUICK, optimizer=optimizer)
        whole = mx.train(config_of(family), data, tmp_path / "whole", settings)
        out = tmp_path / "resumed"
        with pytest.raises(StopError):
            mx.train(config_of(family), data, out, settings, save_every=0, progress=stop_after(2 * STEPS + 1))
        assert [path.name for path in tmp_path.iterdir() if path.name != "whole"] == ["resumed.partial"]
        steps = []
        mx.train(config_of(family), data, out, settings, progress=lambda done, _total: steps.append(done))
        assert steps == [7, 8, 9]
        assert out.read_bytes() == whole.read_bytes()
        assert not out.with_name("resumed.partial").exists()

    @pytest.mark.parametrize("step", [1, STEPS, STEPS + 1, 2 * STEPS])
    def test_from_any_step(self, step, data, tmp_path):
        whole = mx.train(config_of(), data, tmp_path / "whole", QUICK)
        out = tmp_path / "resumed"
        with pytest.raises(StopError):
            mx.train(config_of(), data, out, QUICK, save_every=0, progress=stop_after(step))
        assert not out.exists()
        mx.train(config_of(), data, out, QUICK)
        assert out.read_bytes() == whole.read_bytes()

    def test_interrupted_twice(self, data, tmp_path):
        whole = mx.train(config_of(), data, tmp_path / "whole", QUICK)
        out = tmp_path / "resumed"
        for step in (STEPS + 2, 2 * STEPS + 2):
            with pytest.raises(StopError):
                mx.train(config_of(), data, out, QUICK, save_every=0, progress=stop_after(step))
        mx.train(config_of(), data, out, QUICK)
        assert out.read_bytes() == whole.read_bytes()

    def test_saves_are_rare_by_default(self, data, tmp_path):
        with pytest.raises(StopError):
            mx.train(config_of(), data, tmp_path / "a", QUICK, progress=stop_after(3 * STEPS))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("change", [{"lr": 1e-3}, {"seed": 1}, {"epochs": 4}], ids=str)
    def test_the_state_of_another_run_is_not_used(self, change, data, tmp_path):
        out = tmp_path / "a"
        with pytest.raises(StopError):
            mx.train(config_of(), data, out, QUICK, save_every=0, progress=stop_after(2 * STEPS))
        settings = dataclasses.replace(QUICK, **change)
        steps = []
        mx.train(config_of(), data, out, settings, progress=lambda done, _total: steps.append(done))
        assert steps[0] == 1
        assert out.read_bytes() == mx.train(config_of(), data, tmp_path / "b", settings).read_bytes()

    def test_without_resuming(self, data, tmp_path):
        out = tmp_path / "a"
        with pytest.raises(StopError):
            mx.train(config_of(), data, out, QUICK, save_every=0, progress=stop_after(2 * STEPS))
        steps = []
        mx.train(config_of(), data, out, QUICK, resume=False, progress=lambda done, _total: steps.append(done))
        assert steps == list(range(1, 3 * STEPS + 1))
        assert not out.with_name("a.partial").exists()

    def test_a_damaged_state_is_not_used(self, data, tmp_path):
        whole = mx.train(config_of(), data, tmp_path / "whole", QUICK)
        for name, content in (("text", b"garbage"), ("empty", b"")):
            out = tmp_path / name
            out.with_name(f"{name}.partial").write_bytes(content)
            assert mx.train(config_of(), data, out, QUICK).read_bytes() == whole.read_bytes()
        torch.save([1, 2], tmp_path / "list.partial")
        assert mx.train(config_of(), data, tmp_path / "list", QUICK).read_bytes() == whole.read_bytes()


class TestFinished:
    def test_a_finished_run_is_kept(self, data, tmp_path):
        out = mx.train(config_of(), data, tmp_path / "a", QUICK)
        before, stamp = out.read_bytes(), out.stat().st_mtime_ns
        assert mx.train(config_of(), data, out, QUICK, progress=forbidden) == out
        assert mx.train(config_of(), data, out, QUICK, force=True, progress=forbidden) == out
        assert (out.read_bytes(), out.stat().st_mtime_ns) == (before, stamp)

    def test_unless_told_to_start_again(self, data, tmp_path):
        out = mx.train(config_of(), data, tmp_path / "a", QUICK)
        before, steps = out.read_bytes(), []
        mx.train(config_of(), data, out, QUICK, resume=False, progress=lambda done, _total: steps.append(done))
        assert len(steps) == 3 * STEPS
        assert out.read_bytes() == before

    @pytest.mark.parametrize("change", [{"lr": 1e-3}, {"epochs": 2}, {"seed": 5}], ids=str)
    def test_another_run_is_refused_unless_forced(self, change, data, tmp_path):
        out = mx.train(config_of(), data, tmp_path / "a", QUICK)
        before = out.read_bytes()
        settings = dataclasses.replace(QUICK, **change)
        message = r"already holds another training run; choose another path, or use --force"
        with pytest.raises(UsageError, match=message):
            mx.train(config_of(), data, out, settings, progress=forbidden)
        assert out.read_bytes() == before
        mx.train(config_of(), data, out, settings, force=True)
        assert out.read_bytes() == mx.train(config_of(), data, tmp_path / "b", settings).read_bytes()

    def test_another_file_is_refused_unless_forced(self, data, tmp_path):
        out = tmp_path / "notes.txt"
        out.write_text("precious")
        with pytest.raises(UsageError, match=r"notes.txt: already holds another training run"):
            mx.train(config_of(), data, out, QUICK, progress=forbidden)
        assert out.read_text() == "precious"
        mx.train(config_of(), data, out, QUICK, force=True)
        assert mx.load(out).family == "mixer"

    def test_folders_are_made(self, data, tmp_path):
        out = tmp_path / "some" / "where" / "a.safetensors"
        mx.train(config_of(), data, out, QUICK)
        assert [path.name for path in out.parent.iterdir()] == ["a.safetensors"]


class TestKey:
    def test_every_setting_counts(self, data):
        settings = [
            QUICK,
            *(
                dataclasses.replace(QUICK, **change)
                for change in (
                    {"epochs": 4},
                    {"optimizer": "sgd"},
                    {"lr": 1e-3},
                    {"weight_decay": 0.2},
                    {"batch_size": 31},
                    {"seed": 1},
                    {"augment": "auto"},
                    {"compile": True},
                    {"amp": True},
                )
            ),
        ]
        keys = {run_key(config_of(), each, data[0]) for each in settings}
        keys |= {run_key(config_of(family), QUICK, data[0]) for family in SIZES}
        keys |= {run_key(config_of(), QUICK, data[0].first(79))}
        assert len(keys) == len(settings) + len(SIZES)
        assert len(settings) - 1 == len(dataclasses.fields(TrainingConfig))

    def test_settings_that_came_later_leave_older_names_alone(self, data):
        content = ["mixer", to_dict(config_of()), dataclasses.asdict(QUICK), data[0].fingerprint]
        for name in ("augment", "compile", "amp"):
            del content[2][name]
        assert run_key(config_of(), QUICK, data[0]) == sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class TestSteps:
    def test_masked_weights_stay_zero(self, data, tmp_path, monkeypatch):
        states = spied(monkeypatch)
        for optimizer in ("adamw", "sgd"):
            settings = TrainingConfig(epochs=3, optimizer=optimizer, lr=0.02, weight_decay=0.5, batch_size=32)
            mx.train(config_of("sw-mlp"), data, tmp_path / optimizer, settings)
            untrained = dataclasses.replace(settings, epochs=0)
            mx.train(config_of("sw-mlp"), data, tmp_path / f"{optimizer}-untrained", untrained)
        for trained, start in (states[:2], states[2:]):
            masks = [name for name in trained if name.endswith("mask")]
            assert len(masks) == 4
            for name in masks:
                mask, weight = trained[name], trained[name.replace("mask", "weight")]
                assert torch.equal(mask, start[name])
                assert 0 < int(mask.sum()) < mask.numel()
                assert int(weight[~mask].count_nonzero()) == 0
                assert int((weight != start[name.replace("mask", "weight")])[mask].sum()) > 0.9 * int(mask.sum())

    def test_learning_rate_falls_along_a_half_cosine(self, data, tmp_path, monkeypatch):
        made = []
        build = trainer._optimizer
        monkeypatch.setattr(trainer, "_optimizer", lambda *args: made.append(build(*args)) or made[-1])
        rates = []

        def progress(_done, total):
            rates.append({group["lr"] for group in made[0].param_groups})
            assert total == 3 * STEPS

        mx.train(config_of(), data, tmp_path / "a", QUICK, progress=progress)
        assert rates == [{QUICK.lr * (1 + math.cos(math.pi * step / 9)) / 2} for step in range(9)]

    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    def test_only_matrices_decay(self, optimizer):
        module = FAMILIES["mixer"].module(config_of())
        built = trainer._optimizer(module, dataclasses.replace(QUICK, optimizer=optimizer))
        decay = {id(p): group["weight_decay"] for group in built.param_groups for p in group["params"]}
        assert {name: decay[id(p)] for name, p in module.named_parameters()} == {
            name: 0.1 if name.endswith("weight") and "norm" not in name else 0.0
            for name, _ in module.named_parameters()
        }
        assert type(built).__name__ == {"adamw": "AdamW", "sgd": "SGD"}[optimizer]
        if optimizer == "sgd":
            assert {(group["momentum"], group["nesterov"]) for group in built.param_groups} == {(0.9, True)}

    def test_first_step_of_sgd_by_hand(self, data, tmp_path, monkeypatch):
        states = spied(monkeypatch)
        settings = TrainingConfig(epochs=1, optimizer="sgd", lr=0.1, weight_decay=0.3, batch_size=80)
        mx.train(config_of(), data, tmp_path / "a", settings)
        torch.manual_seed(0)
        module = FAMILIES["mixer"].module(config_of())
        loss = torch.nn.functional.cross_entropy(module(data[0].images), data[0].labels)
        loss.backward()
        for name, parameter in module.named_parameters():
            gradient = parameter.grad + (0.3 * parameter.detach() if parameter.ndim > 1 else 0)
            # Nesterov's first step: gradient + momentum * gradient
            expected = parameter.detach() - 0.1 * 1.9 * gradient
            torch.testing.assert_close(states[0][name], expected, rtol=1e-4, atol=1e-5)


class TestRecord:
    def test_what_the_checkpoint_tells(self, data, tmp_path):
        network = mx.load(mx.train(config_of(), data, tmp_path / "a", QUICK))
        record = network.provenance.training
        assert {name: record[name] for name in dataclasses.asdict(QUICK)} == dataclasses.asdict(QUICK)
        assert record["key"] == run_key(config_of(), QUICK, data[0])
        assert (record["data"], record["images"]) == ("digits", 80)
        assert record["data_fingerprint"] == data[0].fingerprint
        module = network.module()
        right = (module(data[1].images).argmax(dim=1) == data[1].labels).double().mean()
        assert record["test_accuracy"] == float(right)
        assert network.trained

    def test_no_epochs_keep_the_initialisation(self, data, tmp_path):
        settings = dataclasses.replace(QUICK, epochs=0, seed=7)
        network = mx.load(mx.train(config_of("rp-mixer"), data, tmp_path / "a", settings, progress=forbidden))
        torch.manual_seed(7)
        fresh = FAMILIES["rp-mixer"].module(config_of("rp-mixer")).state_dict()
        loaded = network.module().state_dict()
        assert set(loaded) == set(fresh)
        assert all(torch.equal(loaded[name], fresh[name]) for name in fresh)
        assert network.provenance.training["last_loss"] is None
        assert network.trained is False

    def test_default_settings(self, data, tmp_path, monkeypatch):
        used = []
        monkeypatch.setattr(trainer, "_run", lambda _m, _d, settings, *_: used.append(settings))
        mx.train(config_of(), data, tmp_path / "a")
        assert used == [TrainingConfig()]

    def test_it_learns(self, tmp_path):
        data = mx.open_dataset("digits", "train"), mx.open_dataset("digits", "test")
        records = {}
        for epochs in (0, 1, 6):
            settings = TrainingConfig(epochs=epochs, lr=1e-2, batch_size=32)
            config = configure("mixer", Patches(8, 8, 1, 2), 10, Sizes(channels=8, depth=1))
            records[epochs] = mx.load(mx.train(config, data, tmp_path / str(epochs), settings)).provenance.training
        assert records[6]["last_loss"] < 0.5 * records[1]["last_loss"]
        assert records[0]["test_accuracy"] < 0.3
        assert records[6]["test_accuracy"] > 0.8

    def test_the_loss_is_the_mean_over_the_last_epoch(self, data, tmp_path, monkeypatch):
        losses = []
        cross_entropy = trainer.F.cross_entropy
        spy = lambda logits, labels: losses.append(cross_entropy(logits, labels)) or losses[-1]  # noqa: E731
        monkeypatch.setattr(trainer.F, "cross_entropy", spy)
        network = mx.load(mx.train(config_of(), data, tmp_path / "a", QUICK))
        expected = sum(float(loss.detach()) for loss in losses[-STEPS:]) / STEPS
        assert network.provenance.training["last_loss"] == pytest.approx(expected, rel=1e-6)


class TestRefused:
    @pytest.mark.parametrize("save_every", [0, 10])
    def test_a_diverging_run_leaves_nothing(self, save_every, data, tmp_path):
        settings = TrainingConfig(epochs=20, optimizer="sgd", lr=1e20, batch_size=32)
        with pytest.raises(CheckFailedError, match=r"the loss is no longer finite in epoch \d+; use a smaller --lr"):
            mx.train(config_of("sw-mlp"), data, tmp_path / "a", settings, save_every=save_every)
        assert list(tmp_path.iterdir()) == []

    def test_a_run_that_diverges_late_leaves_nothing_either(self, data, tmp_path, monkeypatch):
        calls = []
        cross_entropy = trainer.F.cross_entropy

        def broken_in_the_third_epoch(logits, labels):
            calls.append((tmp_path / "a.partial").exists())
            return cross_entropy(logits, labels) * (math.nan if len(calls) > 2 * STEPS else 1)

        monkeypatch.setattr(trainer.F, "cross_entropy", broken_in_the_third_epoch)
        with pytest.raises(CheckFailedError, match=r"the loss is no longer finite in epoch 2; use a smaller --lr"):
            mx.train(config_of(), data, tmp_path / "a", dataclasses.replace(QUICK, epochs=5), save_every=0)
        assert calls == [False] * STEPS + [True] * 2 * STEPS
        assert list(tmp_path.iterdir()) == []

    def test_weights_that_overflow_in_the_last_step(self, data, tmp_path):
        settings = TrainingConfig(epochs=1, optimizer="sgd", lr=1e38, weight_decay=1e3, batch_size=80)
        with pytest.raises(CheckFailedError, match=r"a weight is no longer finite in epoch 0; use a smaller --lr"):
            mx.train(config_of(), data, tmp_path / "a", settings)
        assert list(tmp_path.iterdir()) == []

    def test_no_labels(self, data, tmp_path):
        unlabelled = Dataset("noise", "train", data[0].images, None, 0)
        for pair in ((unlabelled, data[1]), (data[0], unlabelled)):
            with pytest.raises(DataError, match=r"noise: training needs labels of at most 10 classes, got 0"):
                mx.train(config_of(), pair, tmp_path / "a", QUICK)

    def test_more_classes_than_outputs(self, data, tmp_path):
        config = configure("mixer", PATCHES, 9, SIZES["mixer"])
        with pytest.raises(DataError, match=r"digits: training needs labels of at most 9 classes, got 10"):
            mx.train(config, data, tmp_path / "a", QUICK)

    def test_no_outputs(self, data, tmp_path):
        config = configure("mixer", PATCHES, 0, SIZES["mixer"])
        with pytest.raises(DataError, match=r"digits: training needs labels of at most 0 classes, got 10"):
            mx.train(config, data, tmp_path / "a", QUICK)

    def test_images_of_another_shape(self, data, tmp_path):
        fixed = [dataclasses.replace(each, resizable=False) for each in data]
        config = configure("mixer", Patches(16, 16, 1, 4), 10, SIZES["mixer"])
        with pytest.raises(DataError, match=r"digits: its images have shape 1 x 8 x 8, the network takes 1 x 16 x 16"):
            mx.train(config, tuple(fixed), tmp_path / "a", QUICK)
        assert list(tmp_path.iterdir()) == []

    def test_images_are_resized_where_that_is_allowed(self, data, tmp_path):
        config = configure("mixer", Patches(16, 16, 1, 4), 10, SIZES["mixer"])
        network = mx.load(mx.train(config, data, tmp_path / "a", dataclasses.replace(QUICK, epochs=1)))
        assert network.config.input_shape == (1, 16, 16)
        assert network.provenance.training["data_fingerprint"] == data[0].at((1, 16, 16)).fingerprint


BAD_SETTINGS = {
    "epochs": ({"epochs": -1}, r"epochs must be at least 0, .*, got -1, 64, 0.002 and 0.01"),
    "batch size": ({"batch_size": 0}, r"batch_size at least 1, .*, got 60, 0, 0.002 and 0.01"),
    "zero rate": ({"lr": 0.0}, r"lr positive and .*, got 60, 64, 0.0 and 0.01"),
    "NaN rate": ({"lr": math.nan}, r"lr positive and .*, got 60, 64, nan and 0.01"),
    "decay": ({"weight_decay": -0.1}, r"weight_decay at least 0, got 60, 64, 0.002 and -0.1"),
    "augmentation": ({"augment": "flip"}, r"augment must be one of none, crop-flip, auto, got 'flip'"),
    "optimiser": ({"optimizer": "adam"}, r'optimizer must be "adamw" or "sgd", got \'adam\''),
}


@pytest.mark.parametrize(("change", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)


class TestOptions:
    @pytest.mark.parametrize("augment", ["crop-flip", "auto"])
    def test_augmented_runs_resume_to_the_bit(self, augment, data, tmp_path):
        settings = dataclasses.replace(QUICK, augment=augment)
        whole = mx.train(config_of(), data, tmp_path / "whole", settings)
        out = tmp_path / "resumed"
        with pytest.raises(StopError):
            mx.train(config_of(), data, out, settings, save_every=0, progress=stop_after(2 * STEPS + 1))
        mx.train(config_of(), data, out, settings)
        assert out.read_bytes() == whole.read_bytes()
        plain = mx.load(mx.train(config_of(), data, tmp_path / "plain", QUICK)).module()
        assert not torch.equal(plain.head.weight, mx.load(whole).module().head.weight)

    def test_training_images_alone_are_augmented(self, data):
        settings = dataclasses.replace(QUICK, augment="crop-flip")
        batches = [
            torch.cat([images for images, _ in trainer._shuffled(data[0], each, 1)]) for each in (settings, QUICK)
        ]
        assert batches[0].shape == batches[1].shape
        assert not torch.equal(*batches)
        again = torch.cat([images for images, _ in trainer._shuffled(data[0], settings, 1)])
        assert torch.equal(again, batches[0])

    def test_bfloat16_products_leave_float32_weights(self, data, tmp_path, monkeypatch):
        seen = []
        cross_entropy = trainer.F.cross_entropy
        spy = lambda logits, labels: seen.append(logits.dtype) or cross_entropy(logits, labels)  # noqa: E731
        monkeypatch.setattr(trainer.F, "cross_entropy", spy)
        network = mx.load(mx.train(config_of(), data, tmp_path / "a", dataclasses.replace(QUICK, amp=True)))
        assert set(seen) == {torch.bfloat16}
        assert {parameter.dtype for parameter in network.module().parameters()} == {torch.float32}
        assert network.provenance.training["amp"] is True

    def test_compiled_modules_run_and_plain_ones_are_saved(self, data, tmp_path, monkeypatch):
        compiled = []
        monkeypatch.setattr(trainer.torch, "compile", lambda module: compiled.append(module) or module.forward)
        settings = dataclasses.replace(QUICK, compile=True)
        network = mx.load(mx.train(config_of(), data, tmp_path / "a", settings))
        assert [type(module).__name__ for module in compiled] == ["Mixer"]
        plain = mx.load(mx.train(config_of(), data, tmp_path / "b", QUICK))
        expected = plain.module().state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in network.module().state_dict().items())

    def test_a_device_that_is_not_there(self, data, tmp_path):
        with pytest.raises(UsageError, match=r"--device cuda:99: not available here: \S"):
            mx.train(config_of(), data, tmp_path / "a", QUICK, device="cuda:99")
        assert list(tmp_path.iterdir()) == []

    def test_what_is_said_about_the_files_is_recorded(self, data, tmp_path):
        noted = (dataclasses.replace(data[0], note="official files"), data[1])
        record = mx.load(mx.train(config_of(), noted, tmp_path / "a", QUICK)).provenance.training
        assert record["data_note"] == "official files"
        assert "data_note" not in mx.load(mx.train(config_of(), data, tmp_path / "b", QUICK)).provenance.training


class TestSnapshots:
    def test_they_are_the_run_on_the_way(self, data, tmp_path):
        settings = dataclasses.replace(QUICK, epochs=4)
        out = mx.train(config_of(), data, tmp_path / "net.safetensors", settings, keep_every=2)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "net-epoch0.safetensors",
            "net-epoch2.safetensors",
            "net.safetensors",
        ]
        start, middle, end = (mx.load(tmp_path / f"net{part}.safetensors") for part in ("-epoch0", "-epoch2", ""))
        assert (start.trained, middle.trained, end.trained) == (False, True, True)
        assert [net.provenance.training["epochs_done"] for net in (start, middle, end)] == [0, 2, 4]
        torch.manual_seed(settings.seed)
        fresh = FAMILIES["mixer"].module(config_of()).state_dict()
        assert all(torch.equal(fresh[name], value) for name, value in start.module().state_dict().items())
        alone = mx.train(config_of(), data, tmp_path / "alone.safetensors", settings)
        assert alone.read_bytes() == out.read_bytes()

    def test_a_resumed_run_keeps_them_too(self, data, tmp_path):
        settings = dataclasses.replace(QUICK, epochs=4)
        with pytest.raises(StopError):
            mx.train(
                config_of(), data, tmp_path / "net.st", settings, keep_every=1, save_every=0, progress=stop_after(7)
            )
        mx.train(config_of(), data, tmp_path / "net.st", settings, keep_every=1, save_every=0)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "net-epoch0.st",
            "net-epoch1.st",
            "net-epoch2.st",
            "net-epoch3.st",
            "net.st",
        ]

    def test_at_least_each_epoch(self, data, tmp_path):
        with pytest.raises(UsageError, match="--keep-every must be at least 1, got 0"):
            mx.train(config_of(), data, tmp_path / "net.safetensors", QUICK, keep_every=0)
