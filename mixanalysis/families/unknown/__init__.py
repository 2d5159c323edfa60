"""Placeholder unknown."""
