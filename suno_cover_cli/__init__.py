"""Cover artwork for a piece of music through a Suno API."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Look the version up only when somebody asks: reading package metadata costs more than this import."""
    if name == "__version__":
        from importlib.metadata import version

        return version("suno-cover")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
