"""All measurements, one after the other: `python -m bench`, or some of them: `python -m bench sql s3`.

Each runs in a process of its own, so that none is measured in the memory of another. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import subprocess
import sys
import time

BENCHES = ("sql", "mariadb", "gate", "run", "related", "s3", "parquet", "jsonlines", "pages", "nothing")


def main() -> int:
    """Run what was asked for, and say which of them missed a target."""
    chosen = sys.argv[1:] or list(BENCHES)
    unknown = sorted(set(chosen) - set(BENCHES))
    if unknown:
        print(f"no such measurement: {', '.join(unknown)}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    missed = []
    for name in chosen:
        print(f"\n=== {name} ===", flush=True)
        began = time.monotonic()
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
            missed.append(name)
        print(f"({name} took {time.monotonic() - began:.0f} s)", flush=True)
    print(f"\nmissed a target: {', '.join(missed)}" if missed else "\nall targets met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
