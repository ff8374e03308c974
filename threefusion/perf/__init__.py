"""How fast the hot operations are here: against the plain torch reference, and against what the hardware could do."""
