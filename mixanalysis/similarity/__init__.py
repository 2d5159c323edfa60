"""Similarity of representations: HSIC, CKA, and their intervals."""

from mixanalysis.similarity.accumulator import HSICSums
from mixanalysis.similarity.estimators import Estimator
from mixanalysis.similarity.factories import Factory, OwnModel
from mixanalysis.similarity.grams import Centred, Kernel
from mixanalysis.similarity.hsic import hsic1, linear_cka, rbf_cka
from mixanalysis.similarity.layerwise import CKAResult, cka
from mixanalysis.similarity.opening import Contender, Models, open_all
from mixanalysis.similarity.resume import Resume
from mixanalysis.similarity.stored import Stored
from mixanalysis.similarity.storing import store
from mixanalysis.similarity.subjects import Subject
from mixanalysis.similarity.unfinished import Unfinished

__all__ = [
    "CKAResult",
    "Centred",
    "Contender",
    "Estimator",
    "Factory",
    "HSICSums",
    "Kernel",
    "Models",
    "OwnModel",
    "Resume",
    "Stored",
    "Subject",
    "Unfinished",
    "cka",
    "hsic1",
    "linear_cka",
    "open_all",
    "rbf_cka",
    "store",
]
