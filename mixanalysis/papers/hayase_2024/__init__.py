"""Hayase & Karakida 2024 (arXiv 2306.01470): the experiments of its figures and tables."""
