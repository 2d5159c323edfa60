"""Feature files."""
