"""The contract of a structured linear operator."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from mixanalysis.operators.lanczos import Search, dense_top, lanczos_top
from mixanalysis.operators.quadrature import lanczos_quadrature
from mixanalysis.operators.spectrum import Density, Spectrum, Top
from mixanalysis.operators.svd import singular_values

DENSE_LIMIT = 2**28
"""Largest number of cells that `dense()` is willing to build (2 GiB in float64)."""

EXACT_LIMIT = 2048
"""Largest smaller side of a matrix that is made dense to answer exactly (about a second)."""

_BLOCK_CELLS = 2**24
"""Cells of the identity and its image that are held at once to go through a matrix by rows."""


class Operator(LinearOperator):
    """A linear map R^columns -> R^rows that knows its structure; weights are real torch tensors.

    It acts on torch tensors through `apply` (dtype and device kept, any leading batch axes) and, as a scipy
    `LinearOperator`, on numpy arrays through `@`, `matvec` and `matmat`. A subclass is final and writes
    `apply`, `_transpose` and `map_weights`, and whatever its structure knows better than the dense matrix:
    `spectrum`, `exact`, `nnz`, `row_norms`.

    Args:
        shape: (rows, columns).
        dtype: torch dtype of the weights.
        device: where the weights are.

    Raises:
        ValueError: the weights are complex.
    """

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype, device: torch.device) -> None:
        # bfloat16 has no numpy name: numpy sees such an operator as float32
        name = str(dtype).removeprefix("torch.")
        if dtype.is_complex:
            msg = f"an operator needs real weights, got {name}; analyse real and imaginary parts in turn"
            raise ValueError(msg)
        self.torch_dtype, self.device = dtype, device
        super().__init__(np.dtype("float32" if name == "bfloat16" else name), shape)  # type: ignore[call-arg]

    @abstractmethod
    def apply(self, x: Tensor) -> Tensor:
        """The product with x of shape (..., columns), of shape (..., rows)."""

    @abstractmethod
    def map_weights(self, function: Callable[[Tensor], Tensor]) -> Operator:
        """The same structure with every stored weight tensor replaced by function(tensor), of the same shape."""

    @abstractmethod
    def _transpose(self) -> Operator: ...

    @property
    def T(self) -> Operator:  # type: ignore[override]  # noqa: N802
        """The transposed operator."""
        return self._transpose()

    def to(self, dtype: torch.dtype) -> Operator:
        """The same operator with weights of another dtype (itself when nothing changes)."""
        return self if dtype == self.torch_dtype else self.map_weights(lambda weight: weight.to(dtype))

    @property
    def exact(self) -> bool:
        """Whether `spectrum` answers in seconds; `top` and `spectral_density` then answer from it."""
        return _fits(self.shape)

    def spectrum(self) -> Spectrum:
        """All singular values, computed in float64.

        Returns:
            The distinct values with their multiplicities.

        Raises:
            ValueError: the structure has no rule for them, and the matrix is too large to be made dense.
        """
        if not _fits(self.shape):
            raise self.no_rule()
        return Spectrum.of(singular_values(self.to(torch.float64).dense()), min(self.shape))

    def no_rule(self) -> ValueError:
        """The error of an operator whose singular values have no exact rule."""
        return ValueError(
            f"all singular values of a {type(self).__name__} of shape {self.shape[0]} x {self.shape[1]} would need "
            "its dense matrix; use top(k) for the largest, spectral_density() for their distribution"
        )

    def top(
        self,
        k: int,
        *,
        tol: float = 1e-5,
        vectors: bool = False,
        start: NDArray[np.float64] | None = None,
        seed: int = 0,
    ) -> Top:
        """The k largest singular values, each as often as it occurs; all of them when k is at least min(shape).

        Exact where the spectrum is; otherwise by restarted Lanczos iterations on the smaller Gram matrix.

        Args:
            k: how many.
            tol: relative accuracy of the squared values, for Lanczos.
            vectors: whether to return singular vectors too.
            start: right singular vectors to start Lanczos from, shape (columns,) or (columns, j), such as those of
                an earlier checkpoint; a structure that asks its factors instead ignores them.
            seed: of the random start vectors.

        Returns:
            The values in descending order, with their singular vectors where asked for.

        Raises:
            ValueError: k is below one, or the start vectors have another length.
        """
        if k < 1:
            msg = f"the number of singular values must be at least one, got {k}"
            raise ValueError(msg)
        if start is not None and len(start) != self.shape[1]:
            msg = f"start vectors must have length {self.shape[1]} (right singular vectors), got {len(start)}"
            raise ValueError(msg)
        return self._top(min(k, *self.shape), Search(tol, vectors, start, seed))

    def _top(self, k: int, search: Search) -> Top:
        if self.exact and not search.vectors:
            return Top(self.spectrum().largest(k), np.zeros(k), "exact")
        if self.exact and _fits(self.shape):
            return dense_top(self, k)
        return lanczos_top(self, k, search)

    def spectral_density(self, probes: int = 16, steps: int = 48, seed: int = 0) -> Density:
        """The distribution of all singular values.

        Exact where the spectrum is; otherwise by stochastic Lanczos quadrature. The standard error of a cumulative
        share is about 0.7 / sqrt(min(shape) probes); `steps` resolve the shape of the distribution.

        Args:
            probes: random start vectors, at least two.
            steps: Lanczos steps from each.
            seed: of the start vectors.

        Returns:
            The exact distribution, or its estimate with one quadrature rule per probe.

        Raises:
            ValueError: fewer than two probes, or no step.
        """
        if probes < 2 or steps < 1:
            msg = f"quadrature needs at least 2 probes (for its standard error) and 1 step, got {probes} and {steps}"
            raise ValueError(msg)
        return self._spectral_density(probes, steps, seed)

    def _spectral_density(self, probes: int, steps: int, seed: int) -> Density:
        if self.exact:
            return Density.exact(self.spectrum())
        return Density(*lanczos_quadrature(self, probes, steps, seed), 0, min(self.shape), "stochastic")

    @property
    def nnz(self) -> int:
        """Number of connections: cells that the structure allows to be non-zero.

        Raises:
            ValueError: they have no closed form, and the matrix is too large to count them.
        """
        ones = self.map_weights(lambda weight: torch.ones_like(weight, dtype=torch.float64))
        # sums of products of ones
        return sum(int((block > 0.5).sum()) for block in ones.row_blocks("number of connections"))

    @property
    def density(self) -> float:
        """Share of cells that are connections, p."""
        return self.nnz / (self.shape[0] * self.shape[1])

    def row_norms(self) -> Tensor:
        """Euclidean norm of every row, shape (rows,), float64.

        Returns:
            The norms, from the first row on.

        Raises:
            ValueError: they have no closed form, and the matrix is too large to go through.
        """
        blocks = self.to(torch.float64).row_blocks("row or column norms")
        return torch.cat([torch.linalg.vector_norm(block, dim=1) for block in blocks])

    def column_norms(self) -> Tensor:
        """Euclidean norm of every column, shape (columns,), float64."""
        return self.T.row_norms()

    def frobenius(self) -> float:
        """Frobenius norm."""
        return float(torch.linalg.vector_norm(self.row_norms().detach()))

    def row_blocks(self, question: str) -> Iterator[Tensor]:
        """The matrix by blocks of rows, each of shape (some, columns), so that it is never held as a whole.

        Args:
            question: what is sought, for the error.

        Yields:
            Consecutive blocks of rows, from the first.

        Raises:
            ValueError: the matrix would have more than `DENSE_LIMIT` cells.
        """
        rows, columns = self.shape
        if rows * columns > DENSE_LIMIT:
            msg = (
                f"the {question} of a {type(self).__name__} of shape {rows} x {columns} have no closed form, and it is "
                "too large to go through its cells; ask its factors, or spectral_density().moment(2)"
            )
            raise ValueError(msg)
        transposed, some = self.T, max(1, _BLOCK_CELLS // max(rows, columns))
        for start in range(0, rows, some):
            unit = torch.zeros(min(some, rows - start), rows, dtype=self.torch_dtype, device=self.device)
            unit.diagonal(start).fill_(1)
            yield transposed.apply(unit)

    def dense(self) -> Tensor:
        """The matrix itself, shape (rows, columns). For small sizes.

        Returns:
            Shape (rows, columns), in the operator's dtype.

        Raises:
            ValueError: the matrix would have more than `DENSE_LIMIT` cells.
        """
        rows, columns = self.shape
        if rows * columns > DENSE_LIMIT:
            msg = (
                f"{type(self).__name__} of shape {rows} x {columns} would need {rows * columns * 8 / 2**30:.1f} GiB "
                "as a dense matrix; use apply, spectrum or the norms instead"
            )
            raise ValueError(msg)
        return self.apply(torch.eye(columns, dtype=self.torch_dtype, device=self.device)).mT.contiguous()

    def _adjoint(self) -> Operator:
        return self._transpose()

    def _matmat(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        columns = torch.from_numpy(np.ascontiguousarray(x.T)).to(self.device, self.torch_dtype)
        result = self.apply(columns).mT.detach().cpu()
        return (result.float() if self.torch_dtype == torch.bfloat16 else result).numpy()

    def _matvec(self, x: NDArray[np.generic]) -> NDArray[np.generic]:
        return self._matmat(x.reshape(-1, 1))[:, 0]


def _fits(shape: tuple[int, int]) -> bool:
    return min(shape) <= EXACT_LIMIT and shape[0] * shape[1] <= DENSE_LIMIT


def common_dtype(operators: Sequence[Operator]) -> torch.dtype:
    """The dtype that all operators share.

    Returns:
        The shared dtype.

    Raises:
        ValueError: they don't share one.
    """
    dtypes = {operator.torch_dtype: None for operator in operators}
    if len(dtypes) > 1:
        names = " and ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        msg = f"factors must share one dtype, got {names}; convert them with to(dtype)"
        raise ValueError(msg)
    return next(iter(dtypes))
