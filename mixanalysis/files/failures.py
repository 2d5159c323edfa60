"""Errors of writing an output, told in its name: a full disk, and a place that can't be written to."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mixanalysis.errors import MixanalysisError, OutputError
from mixanalysis.files.leftovers import absolute, hidden_prefix

_TORCH = re.compile(r"PytorchStreamWriter failed writing|unexpected pos \d+ vs \d+")
"""What torch.save says of a full disk."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Say of a full disk and of a place that can't be written to which output they hit.

    Raises:
        OutputError: in place of the system's and the libraries' own errors.
        MixanalysisError: any other of ours, as it was raised.
    """
    hidden = str(absolute(path).with_name(hidden_prefix(absolute(path))))
    try:
        yield
    except OutputError as error:
        if str(absolute(error.path)).startswith(hidden):
            raise OutputError(path, error.reason) from error
        raise
    except MixanalysisError:
        raise
    except Exception as error:
        reason = _reason(error, path, hidden)
        if reason is None:
            raise
        raise OutputError(path, reason) from error


def _reason(error: BaseException | None, path: Path, hidden: str) -> str | None:
    """Why an output can't be written, by the errors that led to this one; None where it is about something else."""
    while error is not None:
        text = str(error)
        if isinstance(error, OSError):
            number, name = error.errno or 0, str(error.filename)
        else:
            # safetensors passes the system's errors on as text
            found = re.search(r"\(os error (\d+)\)", text)
            number, name = int(found[1]) if found else 0, hidden
        if number in _FULL or _TORCH.search(text):
            return f"{os.strerror(number or errno.ENOSPC)}; free some room, or choose another --output"
        ours = name.startswith(hidden) or Path(name) in (path, absolute(path), *absolute(path).parents)
        # a file that is missing within the output under way was never written: that is no fault of the place
        missing = number == errno.ENOENT and name.startswith(hidden) and os.sep in name.removeprefix(hidden)
        if number == errno.EROFS or (number and ours and not missing):
            return f"{os.strerror(number)}; choose another --output"
        error = error.__cause__ or error.__context__
    return None
