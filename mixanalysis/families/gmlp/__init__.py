"""Placeholder gmlp."""
