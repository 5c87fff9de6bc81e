"""Rows inside Parquet files on S3."""

from lethe.stores.parquet.store import ParquetStore

__all__ = ["ParquetStore"]
