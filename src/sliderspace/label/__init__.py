"""Names for sliders: by a CLIP's words, by a vision-language model, and whether they hold."""
