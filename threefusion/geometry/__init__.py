"""Geometry: points to density and features."""
