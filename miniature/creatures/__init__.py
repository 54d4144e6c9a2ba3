"""Clay creatures: every picture is made of known numbers, by a small renderer of blended ellipsoids."""
