"""Whole objects in buckets: records are keys, each with all of its versions and delete markers."""

from lethe.stores.objects.store import S3ObjectStore

__all__ = ["S3ObjectStore"]
