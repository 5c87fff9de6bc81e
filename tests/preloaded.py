"""Imported by the server that processes are forked from, and by nothing else: what each of them would do first.

botocore reads its descriptions of S3 with the first client of a process.
"""

from __future__ import annotations

from lethe.connections import Connection
from lethe.stores.buckets.client import S3Access

_NOWHERE = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}
S3Access.open(Connection("nowhere", "aws", login="nobody", password="none", extra=_NOWHERE)).client.close()
