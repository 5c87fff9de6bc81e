"""Measurements: what erasing costs, beside the fastest that can be written by hand."""
