"""Placeholder wide_mlp."""
