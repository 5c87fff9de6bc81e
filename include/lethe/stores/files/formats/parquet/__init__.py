"""Rows in Parquet files."""
