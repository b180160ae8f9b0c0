"""Runs what was typed, each command in a fork: ``python -m tests.standins.typed_words SCRIPT``.

A stand-in for the shell where only the terminal matters: commands stand between semicolons, words are quoted as in
a shell, and each command is the program, with the libraries that this process has loaded.
"""

import os
import runpy
import shlex
import sys

if __name__ == "__main__":
    for typed in sys.argv[1].split("; "):
        pid = os.fork()
        if not pid:
            sys.argv[:] = shlex.split(typed)
            runpy.run_module("suno_cover_cli", run_name="__main__", alter_sys=True)
        os.waitpid(pid, 0)
