"""Singular values against random-matrix theory."""

from mixanalysis.spectra import marchenko_pastur, tracy_widom
from mixanalysis.spectra.analysis import spectrum
from mixanalysis.spectra.fit import Fit, fit
from mixanalysis.spectra.marchenko_pastur import c_gamma, edge
from mixanalysis.spectra.masked_edge import sparse_edge
from mixanalysis.spectra.result import SpectrumResult

__all__ = [
    "Fit",
    "SpectrumResult",
    "c_gamma",
    "edge",
    "fit",
    "marchenko_pastur",
    "sparse_edge",
    "spectrum",
    "tracy_widom",
]
