"""Tangential damping classifier-free guidance for threefusion."""
