"""Which CKA is estimated: kernel, bias, batches, and what is regressed out; the name spells all choices."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from mixanalysis.errors import UsageError
from mixanalysis.selection import did_you_mean
from mixanalysis.similarity.estimators.hsic import Bias
from mixanalysis.similarity.estimators.kernels import Kernel, KernelName

Covariate = Literal["", "input"]
"""What is regressed out of all Gram matrices: nothing, or the network's input (Cui et al. 2022)."""

_CHOICES: dict[str, tuple[Bias, bool]] = {
    "minibatch": ("unbiased", False),
    "minibatch-biased": ("biased", False),
    "full": ("unbiased", True),
    "full-biased": ("biased", True),
}


@dataclass(frozen=True)
class Estimator:
    """How CKA is estimated.

    Attributes:
        kernel: similarity of examples.
        bias: "unbiased" (HSIC_1, Song et al. 2012) or "biased" (HSIC_0, Kornblith et al. 2019).
        full: one HSIC over all examples instead of a mean over batches (Nguyen et al. 2021).
        covariate: what is regressed out first.
    """

    kernel: Kernel = field(default_factory=Kernel)
    bias: Bias = "unbiased"
    full: bool = False
    covariate: Covariate = ""

    @classmethod
    def of(
        cls, name: str = "minibatch", kernel: KernelName = "linear", bandwidth: float = 1.0, covariate: Covariate = ""
    ) -> Estimator:
        """From the names that a user gives.

        Returns:
            The estimator.

        Raises:
            UsageError: a name is unknown, or the bandwidth isn't positive.
        """
        if name not in _CHOICES:
            raise UsageError(
                f"unknown estimator {name!r}; known are {', '.join(_CHOICES)}{did_you_mean(name, _CHOICES)}"
            )
        if covariate not in ("", "input"):
            raise UsageError(f"what is regressed out must be 'input' or nothing, got {covariate!r}")
        bias, full = _CHOICES[name]
        return cls(Kernel(kernel, bandwidth), bias, full, covariate)

    @property
    def name(self) -> str:
        """Identifier with all choices, such as cka/kernel=linear/hsic=unbiased/batches=mean."""
        text = f"cka/kernel={self.kernel}/hsic={self.bias}/batches={'one' if self.full else 'mean'}"
        return f"{text}/without={self.covariate}" if self.covariate else text

    def independent(self, n: int, size_a: int, size_b: int) -> float:
        """What independent Gaussian features of these sizes would give.

        0 for the unbiased estimator; 1/sqrt((1 + n/p1)(1 + n/p2)) for the biased linear one of n examples; NaN where
        no formula is known.

        Returns:
            The expected CKA.
        """
        if self.bias == "unbiased":
            return 0.0
        if self.kernel.name != "linear" or self.covariate or not size_a * size_b:
            return math.nan
        return 1 / math.sqrt((1 + n / size_a) * (1 + n / size_b))
