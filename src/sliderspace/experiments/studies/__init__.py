"""One option at a time: the same discovery with and without it, beside each other."""
