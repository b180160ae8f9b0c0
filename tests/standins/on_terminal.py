"""Starts a program as a shell on a terminal would: ``on_terminal.py TTY STREAMS COMMAND...``.

The terminal becomes the controlling one of a new session and replaces those of the standard streams that are named
(``0``, ``1``, ``2``).
"""

import fcntl
import os
import sys
import termios


def main(tty: str, streams: str, *command: str) -> None:
    """Become the program."""
    os.setsid()
    terminal = os.open(tty, os.O_RDWR)
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for number in map(int, streams):
        os.dup2(terminal, number)
    os.execv(command[0], command)  # noqa: S606 -- no shell is the point


if __name__ == "__main__":
    main(*sys.argv[1:])
