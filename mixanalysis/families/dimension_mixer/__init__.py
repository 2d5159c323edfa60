"""Placeholder dimension_mixer."""
