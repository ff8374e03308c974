"""Cameras and lights."""
