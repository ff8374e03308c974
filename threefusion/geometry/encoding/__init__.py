"""Points to features that a small network can read."""
