"""Placeholder sw_mlp."""
