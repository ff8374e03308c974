"""Losses beside the guidance: regularisers of the scene."""
