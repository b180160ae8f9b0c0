"""Cover artwork for a piece of music through a Suno API."""

__all__ = ["__version__"]

# The one place for it: the build reads it here, and looking it up in the package's metadata would cost 30 ms.
__version__ = "0.2.0"
