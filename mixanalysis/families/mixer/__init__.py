"""Placeholder mixer."""
