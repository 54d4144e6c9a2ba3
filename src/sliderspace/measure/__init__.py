"""Measures of a space: pure functions on NumPy arrays, one file for each question. They load no model and draw no
image."""
