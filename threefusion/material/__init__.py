"""Material: features to colours."""
