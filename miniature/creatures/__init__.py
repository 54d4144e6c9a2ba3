"""Clay creatures: a world whose every picture is made of known numbers, drawn by a small renderer of blended ellipsoids."""
