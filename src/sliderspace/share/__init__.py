"""Sliders elsewhere: LoRA files and back, their metadata, the Hub and its card, the delayed start for diffusers."""
