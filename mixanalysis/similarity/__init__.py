"""Similarity of representations: HSIC, CKA, and their intervals."""

from mixanalysis.similarity.accumulator import HSICSums
from mixanalysis.similarity.estimators import Estimator
from mixanalysis.similarity.extractors import FeatureExtractor
from mixanalysis.similarity.factories import Factory, UserModel
from mixanalysis.similarity.feature_files.partial import Unfinished
from mixanalysis.similarity.feature_files.read import Stored
from mixanalysis.similarity.feature_files.write import store
from mixanalysis.similarity.grams import Centred, Kernel
from mixanalysis.similarity.hsic import hsic1, linear_cka, rbf_cka
from mixanalysis.similarity.layerwise_cka import CKAResult, cka
from mixanalysis.similarity.partial_results import Resume

__all__ = [
    "CKAResult",
    "Centred",
    "Estimator",
    "Factory",
    "FeatureExtractor",
    "HSICSums",
    "Kernel",
    "Resume",
    "Stored",
    "Unfinished",
    "UserModel",
    "cka",
    "hsic1",
    "linear_cka",
    "rbf_cka",
    "store",
]
