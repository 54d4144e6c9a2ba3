"""What is asked for: prompts from a file, templates or a language model; a person's own pictures."""
