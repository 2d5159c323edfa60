"""Structured linear operators: layers seen as the wide sparse matrices that they effectively are."""

from mixanalysis.operators.base import Operator
from mixanalysis.operators.block_diagonal import BlockDiagonal, DirectSum
from mixanalysis.operators.butterfly import Butterfly, butterfly_factor
from mixanalysis.operators.coordinates import Coordinates, coordinates
from mixanalysis.operators.cropped import Cropped
from mixanalysis.operators.dense import Dense
from mixanalysis.operators.kronecker import Kronecker
from mixanalysis.operators.lift import Lift
from mixanalysis.operators.masked import Masked
from mixanalysis.operators.monarch import Monarch
from mixanalysis.operators.permuted import Permuted
from mixanalysis.operators.product import Product, product
from mixanalysis.operators.scaled import Scaled
from mixanalysis.operators.spectrum import Density, Estimate, Spectrum, Top

__all__ = [
    "BlockDiagonal",
    "Butterfly",
    "Coordinates",
    "Cropped",
    "Dense",
    "Density",
    "DirectSum",
    "Estimate",
    "Kronecker",
    "Lift",
    "Masked",
    "Monarch",
    "Operator",
    "Permuted",
    "Product",
    "Scaled",
    "Spectrum",
    "Top",
    "butterfly_factor",
    "coordinates",
    "product",
]
