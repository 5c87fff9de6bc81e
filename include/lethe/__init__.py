"""Lethe carries out a company's retention schedule: it finds expired records, checks, erases and accounts for them.

The layers, each importing only those above it (`lint-imports` enforces it):

* what is meant: `policy`, `periods`, `identifiers`, `holds`
* what is done: `stores`, `checks`, `evidence`, `lineage`
* who calls it: `stages`, then `airflow` and `cli`
"""

__version__ = "0.1.0"
