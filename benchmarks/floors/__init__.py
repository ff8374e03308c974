"""Lower bounds for the times of `perf`, from rates measured on the same machine: `python -m benchmarks.floors --help`."""
