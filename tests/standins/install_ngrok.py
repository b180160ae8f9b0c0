"""Sets up a stand-in for the ngrok agent: ``python -m tests.standins.install_ngrok FOLDER [VARIANT]``."""

import json
import py_compile
import shlex
import sys
from pathlib import Path

import trustme


def install(folder: Path, **behaviour: object) -> Path:
    """Make a folder with an executable stand-in, its certificate and its authority; return the executable."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    (folder / "behaviour.json").write_text(json.dumps({"variant": "ok", **behaviour}))
    # Compiled here: of what it runs as a script Python keeps no byte code, and this is run hundreds of times.
    program = folder / "ngrok_agent.pyc"
    py_compile.compile(str(Path(__file__).resolve().with_name("ngrok_agent.py")), str(program), doraise=True)
    launcher = folder / "ngrok"
    launcher.write_text(
        f'#!/bin/sh\nexec {shlex.join([sys.executable, "-I", "-S", str(program), str(folder)])} "$@"\n'
    )
    launcher.chmod(0o755)
    return launcher


def main(arguments: list[str]) -> None:
    """Install one and print the line that makes a shell use it."""
    folder, *rest = arguments
    launcher = install(Path(folder).resolve(), variant=rest[0] if rest else "ok")
    authority = launcher.with_name("ca.pem")
    sys.stdout.write(
        f"export PYNGROK_NGROK_PATH={shlex.quote(str(launcher))} SSL_CERT_FILE={shlex.quote(str(authority))} "
        "NGROK_AUTHTOKEN=standin-token\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
