"""One question, with or without pictures, to a language model: thin adapters over kept libraries."""
