"""The command line as a process: signals that end it, and what it leaves."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from mixanalysis import files
from mixanalysis.distributed import declared
from mixanalysis_cli.printing import escape_what_streams_lack

INTERRUPTED = 130

TERMINATED = 143

received: list[int] = []
"""Signals that asked this process to end; the first one was told."""

_WORDS = {signal.SIGINT: b"interrupted", signal.SIGTERM: b"terminated"}

_AGAIN = 0.01
"""Seconds after which an import is looked at again."""


def main() -> None:
    """Run the command line; a signal unwinds it like an exception, so that nothing half-written stays."""
    escape_what_streams_lack()
    signal.signal(signal.SIGTERM, end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it may be ignored, as in the background
        signal.signal(signal.SIGINT, end)
    try:
        try:
            from mixanalysis_cli.app import app

            app(prog_name="mixanalysis")
        finally:
            _listen_no_more()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as asked:
        if received and not asked.code:  # it came too late, or was lost on the way, but it was told
            sys.exit(INTERRUPTED if received[0] == signal.SIGINT else TERMINATED)
        raise
    finally:
        _listen_no_more()
        files.clean_up()


def _listen_no_more() -> None:
    """Libraries that are being unloaded need no words of their own."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end(number: int, frame: FrameType | None) -> None:
    """Handle a signal: say so once, wherever this is, even within a print, and unwind."""
    if not received and declared().leads:
        os.write(2, b"mixanalysis: error: " + _WORDS[signal.Signals(number)] + b"\n")
    received.append(number)
    # objects that are cut in two while they are made may complain when they go
    sys.unraisablehook = lambda _what: None
    if len(received) > 1 or not hasattr(signal, "setitimer"):
        unwind()
    signal.signal(signal.SIGALRM, _outside_imports)
    _outside_imports(number, frame)


def unwind() -> None:
    """Raise what the last signal calls for."""
    if received[-1] == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(TERMINATED)


def _outside_imports(_number: int, frame: FrameType | None) -> None:
    """Unwind, or wait for the end of an import: compiled libraries abort where theirs is cut in two."""
    if _importing(frame):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    else:
        unwind()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load":
            return True
        frame = frame.f_back
    return False
