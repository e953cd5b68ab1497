"""How fast, how large: benchmarks and ahead-of-time compilation."""
