"""Similarity of representations: HSIC, CKA, and their intervals."""

from mixanalysis.similarity.accumulator import HSICSums, triangle
from mixanalysis.similarity.hsic import hsic1, linear_cka
from mixanalysis.similarity.layerwise import CKAResult, Subject, cka

__all__ = ["CKAResult", "HSICSums", "Subject", "cka", "hsic1", "linear_cka", "triangle"]
