"""CPU kernels, compiled on first call and cached on disk."""
