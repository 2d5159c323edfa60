"""Similarity: figures."""
