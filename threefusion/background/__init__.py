"""Background: what is behind the scene."""
