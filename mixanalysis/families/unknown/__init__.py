"""Checkpoints of no known layout, whose matrices are layers; it is no family, and the registry has no line for it."""
