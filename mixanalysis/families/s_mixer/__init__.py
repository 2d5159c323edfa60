"""Placeholder s_mixer."""
