"""What a command shows: tables on stdout, progress and notes on stderr, errors in one line."""

from __future__ import annotations

import functools
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
from typer.core import TyperGroup

from mixanalysis.distributed import declared
from mixanalysis.errors import AssumptionWarning, MixanalysisError, ToldElsewhereError
from mixanalysis.selection import did_you_mean
from mixanalysis_cli import tables
from mixanalysis_cli.printing import say, say_json
from mixanalysis_cli.process import INTERRUPTED, received, unwind

if TYPE_CHECKING:
    from mixanalysis.runs.costs import Cost

P = ParamSpec("P")
Advance = Callable[[int, int], None]
Stage = Callable[[str], Advance | None]

PLANNED = 20
"""Rows of a plan that are shown, the costliest, where there are more than twice as many."""

show_table, show_matrix = tables.show_table, tables.show_matrix


def reporting(command: Callable[P, None]) -> Callable[P, None]:
    """Turn errors into one line on stderr and the documented exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            try:
                with _assumptions(quiet=bool(kwargs.get("quiet"))):
                    command(*args, **kwargs)
            except Exception:
                # libraries may have taken the unwinding for an error of their own
                if received:
                    unwind()
                raise
        except ToldElsewhereError as error:
            raise typer.Exit(error.exit_code) from None
        except MixanalysisError as error:
            raise _failed(str(error), error.exit_code) from None
        except KeyboardInterrupt:
            raise _interrupted() from None
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise
        except Exception as error:
            if kwargs.get("verbose"):
                raise
            if isinstance(error, OSError) and error.filename is not None:
                raise _failed(f"{error.filename}: {error.strerror}", 1) from None
            message = f"unexpected {type(error).__name__}: {error}; --verbose shows where"
            raise _failed(message, 1) from None

    return wrapped


class Commands(TyperGroup):
    """The commands, whose usage errors are one line on stderr like all others, and whose help is never cut."""

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Every command with the whole of its sentence."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help or "") for name, command in self.commands.items()])

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command and leave with its exit code."""
        standalone = options.pop("standalone_mode", True)
        try:
            result = super().main(*args, **options | {"standalone_mode": False})
        except (KeyboardInterrupt, typer.Abort):
            # between two commands' own care, such as while options are read
            if not standalone:
                raise
            sys.exit(_interrupted().exit_code)
        except typer.TyperException as error:
            if not standalone:
                raise
            if declared().leads:  # every process of torchrun would say it
                context = getattr(error, "ctx", None)
                message = _with_hint(error.format_message().rstrip(".")) + _from_file(error)
                _complain(message if context is None else f"{message} (see {context.command_path} --help)")
            sys.exit(error.exit_code)
        if standalone:
            sys.exit(result)
        return result


def _with_hint(message: str) -> str:
    """The message of a wrong choice, with the one that may have been meant."""
    message = message.replace("Value error, ", "")
    wrong = re.search(r"'([^']*)' is not one of ('.*')$", message)
    return message if wrong is None else message + did_you_mean(wrong[1], re.findall(r"'([^']*)'", wrong[2]))


def _from_file(error: Exception) -> str:
    """That the wrong value stands in the file of --config, where it does."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    if context is None or parameter is None:
        return ""
    source = context.get_parameter_source(parameter.name)
    if source is None or source.name != "DEFAULT_MAP":
        return ""
    return f"; it stands as {parameter.name} in {context.params['config']}"


def _interrupted() -> typer.Exit:
    if declared().leads and not received:
        _complain("interrupted")
    return typer.Exit(INTERRUPTED)


def _failed(message: str, code: int) -> typer.Exit:
    _complain(message)
    return typer.Exit(code)


def _complain(message: str) -> None:
    say(f"mixanalysis: error: {' '.join(message.split())}", err=True)


def note(message: str, *, quiet: bool) -> None:
    """One line on stderr."""
    if not quiet:
        say(f"mixanalysis: {message}", err=True)


@contextmanager
def _assumptions(*, quiet: bool) -> Iterator[None]:
    """Doubts about what is assumed of networks, once each on stderr; other warnings go their own way."""
    said: set[str] = set()
    with warnings.catch_warnings():
        others = warnings.showwarning
        warnings.simplefilter("always", AssumptionWarning)

        def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
            if not issubclass(category, AssumptionWarning):
                others(message, category, *where, **options)
            elif str(message) not in said and declared().leads:
                said.add(str(message))
                note(str(message), quiet=quiet)

        warnings.showwarning = show
        yield


@contextmanager
def progress(*, quiet: bool) -> Iterator[Stage]:
    """Progress bars with the time left on stderr, one a stage; none where stderr is not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def stage(name: str) -> Advance:
            task = bars.add_task(name, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield stage


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values, aligned."""
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        say(f"{name:<{width}}  {value}")


def show_plan(cost: Cost, outputs: str, *, device: str = "cpu", json: bool = False) -> None:
    """What would be done, what it would cost, and what would be written.

    Args:
        cost: the estimate.
        outputs: folder and files.
        device: where it would run, whose speed is measured.
        json: print it as JSON.
    """
    from mixanalysis.results import records
    from mixanalysis.runs.costs import measured_speed

    speed = measured_speed(device)
    if json:
        show_json({"plan": records(cost.rows), "estimate": cost.to_json(speed), "outputs": outputs})
        return
    rows = cost.rows.assign(memory=[quantity(each, "B") for each in cost.rows["memory"]])
    rows = rows.assign(operations=[quantity(each, "") for each in rows["operations"]])
    headings = {"network": "network", "layer": "layer", "size": "size", "operations": "operations", "memory": "memory"}
    largest = cost.rows["operations"].nlargest(PLANNED).index.sort_values() if len(rows) > 2 * PLANNED else rows.index
    show_table(rows.loc[largest], headings, "Estimated from shapes, right to an order of magnitude")
    if more := len(rows) - len(largest):
        say(f"and {more} that take less; --json lists all")
    if cost.unknown:
        say(f"not known before it runs: {', '.join(cost.unknown)}")
    time, memory = duration(cost.seconds(speed)), quantity(cost.memory, "B")
    say(f"estimate: about {time} at {quantity(speed, 'FLOP/s')} here, {memory} of memory beside the program's own")
    say(outputs)


def duration(seconds: float) -> str:
    """A time to one digit, in the unit that suits it."""
    for size, unit in ((3600.0, "h"), (60.0, "min"), (1.0, "s")):
        if seconds >= 2 * size:
            return f"{_rounded(seconds / size, 1)} {unit}"
    return f"{_rounded(seconds, 1)} s"


def quantity(value: float, unit: str) -> str:
    """A quantity to two digits, with the prefix that suits it."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{_rounded(value / factor, 2)} {prefix}{unit}".rstrip()
    return f"{_rounded(value, 2)} {unit}".rstrip()


def _rounded(value: float, digits: int) -> str:
    return f"{float(f'{value:.{digits}g}'):,g}"


def show_json(data: Any) -> None:
    """Print JSON-ready data."""
    from mixanalysis.results import to_json

    say_json(to_json(data))
