"""How like a reference set a set of images is, and how varied: pure functions on their features [N, D], in any encoder,
one file a kind of measure. Everything is float64."""
