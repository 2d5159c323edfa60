"""Effective width as a section of a report."""
