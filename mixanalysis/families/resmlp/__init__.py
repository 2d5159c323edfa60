"""Placeholder resmlp."""
