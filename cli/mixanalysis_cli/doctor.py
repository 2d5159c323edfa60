"""`mixanalysis doctor`: what is installed, and whether it computes what it should."""

from __future__ import annotations

from pathlib import Path

import typer

from mixanalysis_cli import options, terminal
from mixanalysis_cli.printing import say

NAME = "doctor"


@terminal.reporting
def command(
    context: typer.Context,
    output: options.Output = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    config: options.ConfigFile = None,
) -> None:
    """Say what is installed and on what machine, and check numbers whose answers are known; 5 where a check fails."""
    from mixanalysis.errors import CheckFailedError
    from mixanalysis.results import records
    from mixanalysis.runs.environment import extras, installation, machine, writable
    from mixanalysis.runs.selfcheck import self_check

    out = output or Path("reports")
    checks, problem, parts, here = self_check(), writable(out), extras(), machine()
    wrong = [str(name) for name in checks.loc[~checks["ok"], "check"]]
    wrong += [f"{out} can't be written to: {problem}"] * bool(problem)
    if json:
        place = {"path": str(out), "problem": problem}
        known = {"versions": installation(), "machine": here, "extras": parts, "output": place}
        terminal.show_json({**known, "checks": records(checks), "ok": not wrong})
    else:
        terminal.show_facts([*installation().items()])
        say()
        named = {name.replace("_", " of "): value for name, value in here.items()}
        named["accelerators"] = ", ".join(here["accelerators"]) or "none"
        terminal.show_facts([(name, str(value)) for name, value in named.items()])
        say()
        for part in parts:
            say(f"extra {part['extra']}: {'installed' if part['installed'] else part['install']}")
        say(f"output {out}: {problem or 'can be written to'}")
        terminal.show_table(checks, {name: name for name in checks.columns}, "Checks")
    if wrong:
        raise CheckFailedError(f"failed: {'; '.join(wrong)}")
