"""Real servers from wheels and a believable company on them: for `make demo`, the tests and the benchmarks.

Not part of what runs in production, and nothing in `lethe` imports it.
"""
