"""`python -m tests.chaos`: real processes under real faults; see docs/chaos.md."""

from __future__ import annotations

from tests.process.chaos.command import main

if __name__ == "__main__":
    main()
