"""Structured linear operators: layers seen as the wide sparse matrices that they effectively are."""

from mixanalysis.operators.base import Operator, Spectrum
from mixanalysis.operators.dense import Dense
from mixanalysis.operators.lift import Lift
from mixanalysis.operators.masked import Masked
from mixanalysis.operators.permuted import Permuted

__all__ = ["Dense", "Lift", "Masked", "Operator", "Permuted", "Spectrum"]
