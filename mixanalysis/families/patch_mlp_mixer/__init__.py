"""Placeholder patch_mlp_mixer."""
