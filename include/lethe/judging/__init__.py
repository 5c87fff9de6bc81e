"""The one meaning of what records are judged by, for all stores; `vectors/` has it as data to test engines with."""
