"""What matter looks like: features to colours."""
