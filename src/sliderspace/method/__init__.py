"""The method, a file a step: denoise, trajectories, moments, directions, sliders, objective, training, sweeps,
calibration."""
