"""Encodings of points for small networks."""
