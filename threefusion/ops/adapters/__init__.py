"""Other projects' kernels in place of ours, imported only when chosen by name."""
