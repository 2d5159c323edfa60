"""Networks and their layers as a part of a report."""
