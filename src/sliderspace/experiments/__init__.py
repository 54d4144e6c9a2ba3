"""Questions about the method, each answered by a command: grids of discoveries, their tables and their plots."""
