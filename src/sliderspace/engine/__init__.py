"""A discovery on disk: stages over (settings, folder, index), fingerprints, evaluation, progress."""
