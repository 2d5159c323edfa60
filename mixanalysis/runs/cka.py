"""CKA with its folder of tables and figures."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mixanalysis import distributed
from mixanalysis._version import __version__
from mixanalysis.datasets import Dataset, open_dataset
from mixanalysis.features import Pooling, Position
from mixanalysis.network import Network, to_dict
from mixanalysis.report.similarity.figures import Scale
from mixanalysis.report.similarity.section import section
from mixanalysis.report.style import PAPER, FigureStyle
from mixanalysis.runs.costs import Cost, of_cka
from mixanalysis.runs.folder import Invocation, Stage, data_record, inputs, opened
from mixanalysis.runs.inputs import NetworkSource
from mixanalysis.selection import matching
from mixanalysis.similarity import CKAResult, FeatureExtractor, Resume, Stored, UserModel, cka
from mixanalysis.similarity.estimators.estimator import Covariate
from mixanalysis.similarity.estimators.kernels import KernelName
from mixanalysis.similarity.layerwise_cka import BATCH_SIZE
from mixanalysis.similarity.sources.batches import Shape
from mixanalysis.similarity.sources.feature_files.read import replay
from mixanalysis.similarity.sources.source import Control


@dataclass(frozen=True)
class CKASettings:
    """How networks are compared; names and meanings are those of `similarity.cka`.

    Attributes:
        estimator: which CKA is estimated.
        kernel: similarity of examples.
        bandwidth: of the RBF kernel.
        covariate: what is regressed out.
        position: where a mixing block's features are read.
        pooling: what of an example's features is kept.
        layers: patterns of blocks, or of modules of the user's own code, to keep.
        exclude: patterns of those to leave out.
        batch_size: images per batch.
        tolerance: half-width of the widest interval at which to stop.
        dtype: name of the precision of the forward pass; None for that of the checkpoint.
        measures: companion measures, for a table of their own.
        permutations: random pairings of each batch's examples, for p-values.
        image: (channels, height, width) that networks of the user's own code take; None to take images as they are.
        batch_axis: axis of examples in the outputs of networks of the user's own code; None to find it by trial runs.
        resize: resize the images to each network's input size.
        colour: convert the images between grey and RGB as each network takes them.
    """

    estimator: str = "minibatch"
    kernel: KernelName = "linear"
    bandwidth: float = 1.0
    covariate: Covariate = ""
    position: Position = "before-skip"
    pooling: Pooling = "flatten"
    layers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    batch_size: int = BATCH_SIZE
    tolerance: float = 0.0
    dtype: str | None = None
    measures: tuple[str, ...] = ()
    permutations: int = 0
    image: Shape | None = None
    batch_axis: int | None = None
    resize: bool = False
    colour: bool = False

    def source(self, contender: NetworkSource, control: Control, device: str) -> FeatureExtractor | Stored:
        """A network with its taps, in its precision and on its device.

        Returns:
            The source of features, or the stored features.

        Raises:
            NothingToAnalyseError: no block, module or layer is left.
        """
        if isinstance(contender, Stored):
            return contender.only(matching(self.layers, self.exclude), control)
        return self.subject(contender, control, device)

    def subject(self, contender: Network | UserModel, control: Control, device: str) -> FeatureExtractor:
        """The same of a network that runs."""
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        if isinstance(contender, Network):
            keep = matching(self.layers, self.exclude)
            return FeatureExtractor.of(contender, self.position, keep, device, dtype, self.pooling, control)
        return contender.subject(
            self.layers,
            self.exclude,
            pooling=self.pooling,
            device=device,
            dtype=dtype,
            control=control,
            image=self.image,
            batch_axis=self.batch_axis,
        )

    def dataset(self, name: str, networks: Sequence[NetworkSource], limit: int | None, seed: int) -> Dataset:
        """The first images of a data set, in the shape of the first network that has one where data have none."""
        shapes = [network.config.input_shape for network in networks if isinstance(network, Network)]
        shape = shapes[0] if shapes else self.image
        return open_dataset(name, shape=shape, seed=seed, resize=self.resize, colour=self.colour).first(limit)


def cka_report(
    networks: Sequence[NetworkSource],
    out: Path,
    request: Invocation,
    how: CKASettings | None = None,
    *,
    controls: Sequence[Control] = (),
    data: str | None = None,
    limit: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    look: FigureStyle = PAPER,
    scale: Scale = "unit",
    force: bool = False,
    resume: bool = False,
    stage: Stage = lambda _name: None,
) -> CKAResult:
    """CKA of every pair, written to `out`.

    Under torchrun every process takes its share of the batches, and the first of them writes.

    Args:
        networks: one (compared with itself) or more.
        out: the folder.
        request: what was asked for.
        how: how they are compared.
        controls: for each network, "floor", "ceiling" or "".
        data: name of a data set; digits by default, or whatever the files were written for where nothing has to run.
        limit: use only the first images.
        device: where the networks run.
        seed: of random data and of permutations.
        look: file format and style of the figures.
        scale: colours of the heat maps from 0 to 1 ("unit"), or over the values that there are ("auto").
        force: also write into a folder that holds files of others.
        resume: keep finished batches in a hidden folder beside `out` until all is written, and start from those of a
            run of the same content that was killed.
        stage: asked for a progress callback.

    Returns:
        The result that was written.

    Raises:
        UsageError: the device isn't there, or the folder holds files of others.
        NothingToAnalyseError: a network has no block of the wanted names.
    """
    how = how or CKASettings()
    device = distributed.own_device(device)
    distributed.check_device(device)
    dataset, record = _data(networks, how, data, limit, seed)
    here = distributed.world()
    with contextlib.ExitStack() as stack:
        folder = None
        if here.leads:
            folder = stack.enter_context(
                opened(
                    out,
                    request,
                    networks=networks,
                    dataset=record,
                    device=device,
                    look=look,
                    force=force,
                    read=dataset.files,
                )
            )
        progress = stage("CKA") if here.leads else None
        result, state = compare(
            networks,
            how,
            dataset,
            record,
            out,
            controls=controls,
            device=device,
            seed=seed,
            resume=resume,
            progress=progress,
        )
        if folder is not None:
            folder.section(section(result, scale))
    if here.leads:
        state.clear()
    return result


def compare(
    networks: Sequence[NetworkSource],
    how: CKASettings,
    dataset: Dataset,
    record: Mapping[str, Any],
    out: Path,
    *,
    controls: Sequence[Control] = (),
    device: str = "cpu",
    seed: int = 0,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[CKAResult, Resume]:
    """CKA of every pair, and the state of finished batches, to be cleared once all is written.

    The parameters are those of `cka_report`; `record` is what is known of the data.

    Returns:
        The result, and the partial results that its files replace.
    """
    nothing: Control = ""
    stands = [*controls, *[nothing] * (len(networks) - len(controls))]
    sources = [how.source(network, control, device) for network, control in zip(networks, stands, strict=True)]
    state = Resume(out.parent / f".{out.name}.resume", _key(networks, sources, record, how, seed))
    result = cka(
        *sources,
        data=dataset,
        estimator=how.estimator,
        kernel=how.kernel,
        bandwidth=how.bandwidth,
        covariate=how.covariate,
        batch_size=how.batch_size,
        tolerance=how.tolerance,
        measures=how.measures,
        permutations=how.permutations,
        seed=seed,
        resume=state if resume else None,
        progress=progress,
    )
    return result, state


def cka_cost(
    networks: Sequence[NetworkSource],
    how: CKASettings,
    *,
    data: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    pairs: bool = True,
) -> Cost:
    """What `cka_report` with these arguments will cost; without `pairs`, what keeping the features will."""
    dataset, _ = _data(networks, how, data, limit, seed)
    batch = len(dataset) if how.estimator.startswith("full") else how.batch_size
    keep = matching(how.layers, how.exclude)
    return of_cka(networks, len(dataset), batch, keep, permutations=how.permutations, pairs=pairs)


def _data(
    networks: Sequence[NetworkSource], how: CKASettings, name: str | None, limit: int | None, seed: int
) -> tuple[Dataset, dict[str, Any]]:
    """The data, and what is known of them; where they aren't at hand and needn't be, by the files of features."""
    stored = [network for network in networks if isinstance(network, Stored)]
    if name is None and len(stored) == len(networks) and not how.covariate:
        dataset = replay(stored).first(limit)
        return dataset, {**data_record(dataset), **stored[0].data}
    dataset = how.dataset(name or "digits", networks, limit, seed)
    return dataset, data_record(dataset)


def _key(
    networks: Sequence[NetworkSource],
    sources: Sequence[FeatureExtractor | Stored],
    data: Mapping[str, Any],
    how: CKASettings,
    seed: int,
) -> str:
    hashes = [record["sha256"] for record in inputs(networks)]
    return content_key(networks, sources, hashes, data, how, {"seed": seed if how.permutations else None})


def content_key(
    networks: Sequence[NetworkSource],
    sources: Sequence[FeatureExtractor | Stored],
    hashes: Sequence[str],
    data: Mapping[str, Any],
    how: CKASettings,
    more: Mapping[str, Any],
) -> str:
    """Content of everything that sums over batches, or features, follow from; no name of a file, and no device.

    Args:
        networks: that run.
        sources: the same with their taps.
        hashes: SHA-256 of their checkpoints.
        data: what is known of the data.
        how: how they are compared.
        more: what else is chosen, JSON-ready.

    Returns:
        A SHA-256 digest in hexadecimal.
    """
    contents = [
        {
            "sha256": sha256,
            "wrapper": network.provenance.wrapper,
            "code": _code(network),
            "taps": _taps(source),
        }
        for sha256, network, source in zip(hashes, networks, sources, strict=True)
    ]
    choices = {name: value for name, value in asdict(how).items() if name not in ("layers", "exclude")}
    facts = {
        "mixanalysis": __version__,
        "networks": contents,
        "data": [data["fingerprint"], data["images"]],
        "choices": choices,
        **more,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _code(network: NetworkSource) -> object:
    """What a network's features follow from beside its file."""
    if isinstance(network, UserModel):
        return network.code
    return to_dict(network.config) if isinstance(network, Network) else None


def _taps(source: FeatureExtractor | Stored) -> list[Any]:
    return (
        list(source.paths.items()) if isinstance(source, FeatureExtractor) else [layer.name for layer in source.layers]
    )
