"""One HTML page from stored results."""
