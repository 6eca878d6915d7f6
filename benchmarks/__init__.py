"""Benchmarks: scripts that print every figure the documentation quotes."""
