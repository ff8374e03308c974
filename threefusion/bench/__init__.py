"""Benchmarks: variants x prompts x seeds, each cell a training in its own process, collected in one table."""
