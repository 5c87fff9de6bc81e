"""Rows in files in buckets: what any format shares; `formats` has a folder or module a format."""
