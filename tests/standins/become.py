"""Becomes another program: ``python -m tests.standins.become COMMAND...``."""

import os
import sys

if __name__ == "__main__":
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 -- no shell is the point
