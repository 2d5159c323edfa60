"""Every table of the analyses by its name, from the rooms that answer with them."""

from __future__ import annotations

from mixanalysis import width
from mixanalysis.network import schemas as network
from mixanalysis.similarity import schemas as similarity
from mixanalysis.spectra import schemas as spectra

ROOMS = (network, similarity, spectra, width)
"""The modules that hold tables, in the order in which they are listed; a new analysis adds its own."""

ANALYSES = {schema.name: schema for room in ROOMS for schema in room.SCHEMAS}
"""Every table that an output folder may hold, by its name, which is also its file's."""
