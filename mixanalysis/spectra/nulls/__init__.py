"""What noise of a layer's own structure does: the law of its singular values and how far its largest one reaches.

A law is a module that registers its rule with `factor_null` (and `entry_variance`, where it can be a factor of a
product) for the operators that it speaks of; the module is named below.
"""

from mixanalysis.spectra.nulls import dense, gains, masked
from mixanalysis.spectra.nulls.law import entry_variance, factor_null, no_null
from mixanalysis.spectra.nulls.null import Null, VarianceSource
from mixanalysis.spectra.nulls.parts import free_groups, independent_factor, independent_parts
from mixanalysis.spectra.nulls.products import density, product_null

LAWS = (dense, masked, gains)
"""The modules of laws; a new one adds itself."""

__all__ = [
    "LAWS",
    "Null",
    "VarianceSource",
    "density",
    "entry_variance",
    "factor_null",
    "free_groups",
    "independent_factor",
    "independent_parts",
    "no_null",
    "product_null",
]
