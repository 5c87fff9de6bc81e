"""What stores in S3 buckets share: clients, error messages and staging."""
