"""All figures, in the order of the table."""

from tests.bench.figures import (
    batch,
    callbacks,
    commands,
    covers,
    gallery,
    images,
    journal,
    limiter,
    release,
    startup,
    waiting,
)
from tests.bench.rows import Figure

FIGURES: tuple[Figure, ...] = (
    *startup.FIGURES,
    *commands.FIGURES,
    *covers.FIGURES,
    *images.FIGURES,
    *callbacks.FIGURES,
    *waiting.FIGURES,
    *batch.FIGURES,
    *journal.FIGURES,
    *limiter.FIGURES,
    *gallery.FIGURES,
    *release.FIGURES,
)
