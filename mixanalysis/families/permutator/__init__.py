"""Placeholder permutator."""
