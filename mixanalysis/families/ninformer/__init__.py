"""Placeholder ninformer."""
