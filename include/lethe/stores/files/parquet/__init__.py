"""Rows inside Parquet files on S3."""

from lethe.stores.files.parquet.store import ParquetStore

__all__ = ["ParquetStore"]
