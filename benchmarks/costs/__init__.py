"""What the networks of real models cost, and the time that a GPU should take: `python -m benchmarks.costs --help`."""
