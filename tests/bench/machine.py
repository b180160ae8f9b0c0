"""What the figures were measured on."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine, as far as it decides figures.

    Attributes:
        date: Of the run, ISO.
        cpu: Its model.
        cores: That this process may use.
        python: Implementation and version.
        system: Kernel and architecture.
        disk: File system of the folder in which files were written.
        load: Average number of busy processes in the minute before, or ``None`` where the system does not tell.
    """

    date: str
    cpu: str
    cores: int
    python: str
    system: str
    disk: str
    load: float | None

    @classmethod
    def look(cls, folder: Path) -> "Machine":
        """Describe this machine and the file system of ``folder``."""
        return cls(
            date=datetime.now(UTC).date().isoformat(),
            cpu=_cpu_model(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            python=f"{platform.python_implementation()} {platform.python_version()}",
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            disk=_file_system(folder),
            load=round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        )

    def __str__(self) -> str:
        load = "" if self.load is None else f"; load {self.load} at the start"
        where = f"{self.cpu}, {self.cores} cores; {self.python}; {self.system}; files on {self.disk}"
        return f"{self.date}; {where}{load}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _file_system(folder: Path) -> str:
    """Return the type of the file system that holds ``folder``; ``unknown`` where /proc does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    found = [(len(place), kind) for _, place, kind, *_ in mounts if folder.resolve().is_relative_to(place)]
    return max(found)[1] if found else "unknown"
