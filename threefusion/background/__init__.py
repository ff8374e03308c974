"""What stands behind the scene."""
