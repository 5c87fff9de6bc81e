"""Rows in files in buckets, a folder a format."""
