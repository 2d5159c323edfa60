"""Placeholder gmixer."""
