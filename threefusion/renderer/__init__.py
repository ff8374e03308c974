"""Renderers: scene and cameras to images."""
