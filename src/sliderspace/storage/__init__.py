"""Whole files or none, each stamped with what it was made from; the run folder; pictures as bytes."""
