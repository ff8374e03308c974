"""Where along a ray the scene is asked."""
