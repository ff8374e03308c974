"""Kernels of other projects, used only if selected by name."""
