"""Downloads the ngrok agent with pyngrok's installer, as a program: ``python install.py FOLDER MAX_BYTES``.

A process of its own, because the installer knows no deadline, takes its folder for temporary files from a global
and unpacks whatever an archive holds: a process can be ended, has an environment of its own, and keeps to a limit
on the size of files. Progress goes to stdout, the reason of a failure is the last line of stderr.
"""

import os
import sys
import tarfile


def main(folder: str, max_bytes: int) -> None:
    """Leave the executable in ``folder``, under the name it has on this system."""
    if hasattr(tarfile, "data_filter"):
        # Before Python 3.14 an archive may write anywhere; this is how a program asks for what came after.
        tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    from pyngrok import exception, installer

    try:
        installer.install_ngrok(os.path.join(folder, installer.get_ngrok_bin()))  # noqa: PTH118 -- takes strings
    except exception.PyngrokError as error:
        # Its own words repeat the address; what went wrong is what it was raised for.
        cause = error if error.__context__ is None else error.__context__
        reason = str(getattr(cause, "reason", cause)) or type(cause).__name__
        sys.exit(reason.replace("\n", " "))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
