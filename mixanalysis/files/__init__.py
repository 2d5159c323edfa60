"""Files: read with care, written whole or not at all."""

from mixanalysis.files.atomic import atomic_write, temporary_folder, write_text
from mixanalysis.files.failures import output_errors
from mixanalysis.files.leftovers import SUFFIX, clean_up, remove_stale
from mixanalysis.files.lock import exclusive_lock
from mixanalysis.files.reading import Stamp, parse_json, read_json, regular_size, sha256, stamp

__all__ = [
    "SUFFIX",
    "Stamp",
    "atomic_write",
    "clean_up",
    "exclusive_lock",
    "output_errors",
    "parse_json",
    "read_json",
    "regular_size",
    "remove_stale",
    "sha256",
    "stamp",
    "temporary_folder",
    "write_text",
]
