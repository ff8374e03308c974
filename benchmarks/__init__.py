"""Measurements beside the package. The package never imports them."""
