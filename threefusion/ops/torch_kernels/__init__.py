"""Kernels in plain torch: reference implementation and fallback of every operation."""
