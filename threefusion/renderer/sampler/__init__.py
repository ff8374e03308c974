"""Where along each ray the field is evaluated."""
