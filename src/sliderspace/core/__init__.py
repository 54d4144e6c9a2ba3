"""What knows nothing of sliders: errors, seeds, settings, batches, arrays, numbers in words."""
