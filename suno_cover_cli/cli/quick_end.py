"""The very end of the process: out at once, when all that waits for the end has been called."""

import atexit
import gc
import os
import sys


class QuickEnd:
    """Ends the process without taking every loaded library to pieces, which is a tenth of a short command.

    Make it before anything else can ask to be called at the end: who asked first is called last.

    Attributes:
        code: The exit code, once it is known. Without one the process ends as ever.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        atexit.register(self._end)

    def _end(self) -> None:
        if self.code is None:
            return
        if sys.warnoptions:
            # Whoever asks Python for warnings is told of what was left open.
            gc.collect()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:  # closed before the program was started
                    stream.flush()
        except (OSError, ValueError):
            return  # Python itself tells of a stream that cannot be written, and ends with 120
        os._exit(self.code)
