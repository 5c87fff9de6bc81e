"""The formats of files with rows in them."""
