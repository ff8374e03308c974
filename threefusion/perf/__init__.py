"""Timing of the hot operations against the plain torch reference."""
