"""`mixanalysis rerun`: a run again, from its manifest."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mixanalysis.errors import CheckFailedError, ReportError, UsageError
from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "rerun"

LEFT_OUT = frozenset({"output", "config", "json", "quiet", "verbose", "dry_run", "force"})
"""Parameters that the new run doesn't take over: no result depends on them, or they are in the others already."""


CODE = {"model": "--model", "model_a": "--model-a", "model_b": "--model-b"}
"""Parameters that name code, with their options; a manifest never brings them."""

Code = Annotated[
    str | None,
    typer.Option(help="The code that the run was of, again: a manifest brings none.", show_default=False),
]


@terminal.reporting
def command(
    context: typer.Context,
    manifest: Annotated[
        Path, typer.Argument(help="manifest.json of an output folder, or the folder.", show_default=False)
    ],
    output: options.Output = None,
    model: Code = None,
    model_a: Code = None,
    model_b: Code = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    dry_run: options.DryRun = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Go on though inputs have changed, and write where files of others are."),
    ] = False,
    config: options.ConfigFile = None,
) -> None:
    """Run a command again with the parameters of its manifest; exit code 5 where the outputs aren't the same bytes."""
    from mixanalysis.runs.manifest import Manifest, find_inputs, unlike

    before = Manifest.read(manifest)
    out = output or Path("reports/rerun")
    if out.resolve() == before.folder.resolve():
        raise UsageError(f"{out}: holds the run that is to be compared with; choose another --output")
    name = before.content["command"]
    given = {"model": model, "model_a": model_a, "model_b": model_b}
    words, places = arguments(context, name, before.content, code_of(before.content["parameters"], given))
    found = find_inputs(before, Path.cwd())
    if found.missing:
        raise ReportError(f"{before.folder}: inputs are missing: {', '.join(found.missing)}; run it where they are")
    if found.changed and not force:
        changed = ", ".join(found.changed)
        raise CheckFailedError(f"inputs are not those of the manifest: {changed}; --force runs with what is there")
    line = [name, *words, f"--output={os.path.relpath(out, found.base)}", *["--force"] * force, *["--quiet"] * quiet]
    line += ["--", *places] if places else []
    if dry_run:
        say(f"in {os.path.relpath(found.base)}: {shlex.join(['mixanalysis', *line])}")
        return
    for path in found.changed:
        terminal.note(f"{path} is not that of the manifest", quiet=quiet)
    _run(context, line, found.base)
    differences = unlike(before, Manifest.read(out))
    if json:
        terminal.show_json({"output": str(out), "identical": not differences, "differences": differences})
    elif not differences:
        say(f"{out}: all {len(before.outputs)} outputs have the same bytes")
    if differences:
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in differences.items())
        raise CheckFailedError(f"{out} is not the same as {before.folder}: {told} (`mixanalysis diff` says how)")


def code_of(parameters: Mapping[str, Any], given: Mapping[str, str | None]) -> dict[str, str]:
    """The code that the user names again, in place of what a manifest names.

    Args:
        parameters: those of the manifest.
        given: those of the command line.

    Returns:
        The value of each parameter that names code.

    Raises:
        UsageError: the manifest names code that the user doesn't, or the other way round.
    """
    for name, option in CODE.items():
        wanted, own = parameters.get(name), given[name]
        if wanted is not None and own is None:
            raise UsageError(
                f"the run was of code, {option} {wanted}, which a manifest doesn't bring along; give {option} again, "
                "found from this folder, if you trust it"
            )
        if wanted is None and own is not None:
            raise UsageError(f"{option} {own}: the run of the manifest had no {option}")
    return {name: own for name, own in given.items() if own is not None}


def arguments(
    context: typer.Context, name: str, manifest: Mapping[str, Any], code: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """A command's resolved parameters as its options, and its arguments; what was and is the default is left out.

    Args:
        context: of the application.
        name: of the command.
        manifest: of the run.
        code: parameters that the user gives again.

    Returns:
        Options with their values, and arguments.

    Raises:
        UsageError: there is no such command, or it has no such parameter.
    """
    commands: dict[str, Any] = context.find_root().command.commands  # type: ignore[attr-defined]
    if name not in commands:
        raise UsageError(f"the manifest is not that of a command, but of {name!r}, which can't be run again from here")
    parameters, sources = manifest["parameters"], manifest.get("parameter_sources", {})
    known = {parameter.name: parameter for parameter in commands[name].params}
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        message = f"the manifest's {name} has parameters that this version doesn't know: {', '.join(unknown)}"
        raise UsageError(message)
    words: list[str] = []
    places: list[str] = []
    for parameter, value in (parameters | code).items():
        if parameter in LEFT_OUT or value is None:
            continue
        values = [str(item) for item in value] if isinstance(value, list) else [str(value)]
        declared = known[parameter]
        # some commands ask whether a value was given, or is what it is by default
        if sources.get(parameter) == "default" and value == options.plain(declared.default):
            continue
        if declared.param_type_name == "argument":
            places += values
        elif isinstance(value, bool):
            words += (declared.opts if value else declared.secondary_opts)[:1]
        else:
            words += [f"{declared.opts[0]}={text}" for text in values]
    return words, places


def _run(context: typer.Context, line: list[str], folder: Path) -> None:
    """Run a command line in a folder, in this process: what ends the one ends the other.

    The folder may be somebody else's: code is imported from the present one.

    Raises:
        Exit: the command ended with an exit code other than 0.
    """
    from mixanalysis.similarity.sources.factories import code_from

    command: Any = context.find_root().command
    own, sys.argv = sys.argv, ["mixanalysis", *line]
    try:
        with code_from(Path.cwd()), contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            code = command.main(line, prog_name="mixanalysis", standalone_mode=False)
    finally:
        sys.argv = own
    if code:
        raise typer.Exit(code)
