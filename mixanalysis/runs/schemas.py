"""Every table by its name: those of the analyses, and those of the commands around them."""

from __future__ import annotations

from mixanalysis.runs.costs import PLAN
from mixanalysis.runs.diff import DIFFERENCES
from mixanalysis.runs.selfcheck import CHECKS
from mixanalysis.schemas import ANALYSES

SCHEMAS = ANALYSES | {schema.name: schema for schema in (DIFFERENCES, PLAN, CHECKS)}
"""In the order in which they are listed."""
