"""Placeholder pk."""
