"""Placeholder wide_sparse_mlp."""
