"""Terms beside the guidance that keep the scene in shape."""
