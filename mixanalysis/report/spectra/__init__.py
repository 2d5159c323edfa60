"""Spectra as a section of a report."""
