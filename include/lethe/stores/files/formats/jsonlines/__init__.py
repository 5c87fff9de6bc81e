"""Rows in files of JSON lines: one JSON object a line."""
