"""Kernels for CUDA devices, compiled by Triton at their first call."""
