"""Other ways to make sliders, to compare with: each in the same bank, trained by the same loop, measured by the same
code."""
