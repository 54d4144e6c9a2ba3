"""The paper's experiments, each by one command, on any model: what they compare, what they measure, and their pages."""
