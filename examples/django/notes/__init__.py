"""Notes: one model, one page."""
