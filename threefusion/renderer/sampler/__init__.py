"""Ray samplers: where along each ray the field is evaluated."""
