"""Placeholder structured_mlp."""
