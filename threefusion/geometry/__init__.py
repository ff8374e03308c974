"""Where matter is: points to density and features."""
