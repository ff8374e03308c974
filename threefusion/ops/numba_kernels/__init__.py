"""Kernels for processors, compiled when first called and kept on disk."""
