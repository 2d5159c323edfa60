"""Features of networks, written to a folder, for later comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mixanalysis.distributed import check_device
from mixanalysis.errors import UsageError
from mixanalysis.report.names import slugs
from mixanalysis.runs.cka import CKASettings, content_key
from mixanalysis.runs.folder import Invocation, Stage, data_record, inputs, opened
from mixanalysis.runs.inputs import NetworkSource
from mixanalysis.similarity import Kernel, Stored, Unfinished, store
from mixanalysis.similarity.sources.feature_files.metadata import SUFFIX, What


class Kept(NamedTuple):
    """Files of features.

    Attributes:
        paths: one for each network.
        warnings: what is to be said about them.
    """

    paths: list[Path]
    warnings: list[str]


def features_report(
    networks: Sequence[NetworkSource],
    out: Path,
    request: Invocation,
    how: CKASettings | None = None,
    *,
    what: What = "grams",
    data: str = "digits",
    limit: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    force: bool = False,
    resume: bool = False,
    stage: Stage = lambda _name: None,
) -> Kept:
    """Run networks one after the other and keep their layers, a file for each, in `out`.

    Args:
        networks: whose features are wanted; none that is stored already.
        out: the folder.
        request: what was asked for.
        how: taps, pooling, precision, kernel and batch size.
        what: Gram matrices of each batch, or the features.
        data: name of a data set.
        limit: use only the first images.
        device: where the networks run.
        seed: of random data.
        force: also write into a folder that holds files of others.
        resume: keep finished batches in a hidden folder beside `out` until all is written, and start from those of a
            run of the same content that was killed.
        stage: asked for a progress callback for each network.

    Returns:
        The files, and what is to be said about them.

    Raises:
        UsageError: a network is stored already, the device isn't there, or the folder holds files of others.
        NothingToAnalyseError: a network has no block of the wanted names.
    """
    how = how or CKASettings()
    check_device(device)
    dataset = how.dataset(data, networks, limit, seed)
    names = [f"{name}{SUFFIX}" for name in slugs(network.label for network in networks).values()]
    states, warnings = [], []
    with opened(out, request, networks=networks, dataset=dataset, device=device, force=force) as folder:
        for network, name, record in zip(networks, names, inputs(networks), strict=True):
            if isinstance(network, Stored):
                raise UsageError(f"{network.provenance.path}: holds features already")
            subject = how.subject(network, "", device)
            more = {"what": what, "label": network.label}
            key = content_key([network], [subject], [record["sha256"]], data_record(dataset), how, more)
            states.append(Unfinished(out.parent / f".{out.name}.resume", key))
            store(
                subject,
                dataset,
                folder.path(name),
                what=what,
                kernel=Kernel(how.kernel, how.bandwidth),
                batch_size=how.batch_size,
                sha256=record["sha256"],
                unfinished=states[-1] if resume else None,
                progress=stage(network.label),
            )
            warnings += [subject.in_parts] * bool(subject.in_parts)
    for state in states:
        state.clear()
    return Kept([out / name for name in names], warnings)
