"""One question to a language model, one answer."""
