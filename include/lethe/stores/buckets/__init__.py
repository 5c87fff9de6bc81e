"""What everything in buckets shares: client, listing, versions, staging, signed requests with an end, uploads."""
