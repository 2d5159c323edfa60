"""Similarity as a section of a report."""
