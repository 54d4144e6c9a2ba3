"""What we did not train: text-to-image models, image encoders, where they come from, devices."""
