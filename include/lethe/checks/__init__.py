"""Great Expectations: what must be true of candidates before erasing, and of a dataset after."""
