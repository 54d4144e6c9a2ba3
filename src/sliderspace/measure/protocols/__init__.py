"""Protocols of newer work than the method's: pure functions on arrays, and beside each number its interval and what
chance gives."""
