"""Placeholder paramixer."""
