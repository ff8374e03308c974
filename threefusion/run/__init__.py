"""A run: a folder that holds everything about itself. Train one, render it, export it."""
