"""Kernels in plain torch: the reference of every operation, and what runs where there is nothing faster."""
