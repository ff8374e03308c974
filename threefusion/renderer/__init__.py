"""Scene and cameras to images."""
