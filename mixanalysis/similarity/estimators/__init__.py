"""Estimators of HSIC and CKA: kernels, sums that merge, batches and all examples at once."""
