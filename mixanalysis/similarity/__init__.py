"""Similarity of representations: HSIC, CKA, and their intervals."""

from mixanalysis.similarity.estimators.centring import Centred
from mixanalysis.similarity.estimators.estimator import Estimator
from mixanalysis.similarity.estimators.hsic import hsic1, linear_cka, rbf_cka
from mixanalysis.similarity.estimators.hsic_sums import HSICSums
from mixanalysis.similarity.estimators.kernels import Kernel
from mixanalysis.similarity.layerwise_cka import CKAResult, cka
from mixanalysis.similarity.partial_results.features import Unfinished
from mixanalysis.similarity.partial_results.hsic import Resume
from mixanalysis.similarity.sources.extractors import FeatureExtractor
from mixanalysis.similarity.sources.factories import Factory, UserModel
from mixanalysis.similarity.sources.feature_files.read import Stored
from mixanalysis.similarity.sources.feature_files.write import store

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
