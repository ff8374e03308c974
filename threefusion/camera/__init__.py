"""Where we look from, and where the light stands."""
