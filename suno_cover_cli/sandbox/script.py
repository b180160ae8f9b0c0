"""The words a scenario is written in. Standard library only: shell completion imports this.

Wherever a script is a tuple of steps, the n-th request takes the n-th step and the last step repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

from suno_cover_cli.base.exits import ExitCode

Step = TypeVar("Step")


def step_at(steps: Sequence[Step], n: int) -> Step:
    """Return the step for the ``n``-th request, counted from 1."""
    return steps[min(n, len(steps)) - 1]


class Ending(Enum):
    """What happens to an answer on its way out."""

    WHOLE = auto()
    """It arrives."""
    SHORT = auto()
    """The connection closes half-way through the promised length."""
    CUT = auto()
    """The connection is reset before the first byte."""
    HELD = auto()
    """Nothing for a minute, then the reset."""
    ENDLESS = auto()
    """It begins well and never stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer to a submit or a read.

    Attributes:
        code: ``code`` of the envelope.
        msg: ``msg`` of the envelope.
        makes_job: The job exists once this submit has been answered, whatever becomes of the answer.
        names_job: ``data`` carries the cover task id.
        shows_record: The answer is the truth about the job; the fields above are then its business.
        status: HTTP status; ``None`` leaves it to the provider's habit.
        raw: A body sent instead of an envelope.
        content_type: Of ``raw`` or the envelope.
        headers: Further headers.
        ending: See :class:`Ending`.
    """

    code: int = 200
    msg: str = "success"
    makes_job: bool = False
    names_job: bool = False
    shows_record: bool = False
    status: int | None = None
    raw: bytes | None = None
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    ending: Ending = Ending.WHOLE


class RecordStyle(Enum):
    """How record-info spells what it knows."""

    RECORDED = auto()
    """As recorded: epoch milliseconds, null ``errorCode`` on success, no ``callbackUrl``."""
    DOCUMENTED = auto()
    """As documented: ISO times, ``errorCode`` 200 on success, ``callbackUrl`` present."""
    WORDS = auto()
    """Words for flags, as some resellers document."""
    LOOSE = auto()
    """Numbers as text, unknown fields, no ``msg``."""
    UNKNOWN_FLAG = auto()
    """A flag out of no list while the job runs."""
    EARLY_ERROR = auto()
    """``errorMessage`` is set while the job still waits."""


class Claim(Enum):
    """What a callback says."""

    TRUTH = auto()
    FORGED_SUCCESS = auto()
    FORGED_FAILURE = auto()
    OTHER_TASK = auto()
    NOT_JSON = auto()
    WRONG_SHAPE = auto()


class Signing(Enum):
    """How a callback is signed when the sandbox has a webhook key; without one, nothing is signed."""

    RIGHT = auto()
    WRONG = auto()
    STALE = auto()
    NONE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One callback, retried until the receiver answers 200 in time.

    Attributes:
        claim: See :class:`Claim`.
        at: When it is sent, as a fraction of the generation time.
        delay_s: Seconds after that moment, divided by the time scale.
        before_answer: It is sent and answered before the submit is answered.
        is_retried: A failed try is repeated by the documented schedule.
        signing: See :class:`Signing`.
        snake_case: ``task_id`` instead of ``taskId``.
    """

    claim: Claim = Claim.TRUTH
    at: float = 1.0
    delay_s: float = 0.0
    before_answer: bool = False
    is_retried: bool = True
    signing: Signing = Signing.RIGHT
    snake_case: bool = False


class Serve(Enum):
    """What the image host does with one request."""

    PNG = auto()
    JPEG = auto()
    """A JPEG under a name that ends in ``.png``."""
    SAME = auto()
    """A PNG whose bytes are the same for every job."""
    SLOW = auto()
    """A PNG after 50 ms."""
    PICKY = auto()
    """A PNG, but 403 to the user agents HTTP libraries have by default."""
    CORRUPT = auto()
    """The right length and first bytes; the pixels cannot be decoded."""
    SHORT = auto()
    """Half of a PNG, then the connection closes; ``Range`` is honoured."""
    SHORT_PLAIN = auto()
    """The same without ``Range``: every try begins again and breaks again."""
    CUT = auto()
    EMPTY = auto()
    HTML = auto()
    FORBIDDEN = 403
    MISSING = 404
    BROKEN = 500
    EXPIRED = auto()
    """410, until a read of the job after it has announced fresh addresses."""
    REDIRECT = auto()
    """302 to the same host."""
    REDIRECT_PRIVATE = auto()
    """302 into a private network."""
    HUGE = auto()
    """A PNG that goes on and on, no length told."""
    HUGE_DECLARED = auto()
    """The same with a Content-Length of 2 GiB."""
    BOMB = auto()
    """A small file of 900 million pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One scripted behaviour of the service.

    Attributes:
        name: What follows ``sandbox-`` in the music task id.
        summary: One line for ``sandbox --list``.
        exit_code: What ``generate`` with default options ends with.
        submits: Answers to the submits of one music task.
        reads: Answers to the reads of one job.
        generation: Length of the generation, in multiples of the sandbox's generation time; may be infinite.
        code: How the job ends.
        message: The words that go with it.
        fails_in_envelope: record-info tells the failure as ``code`` of the envelope, with null data.
        record_lag_s: Seconds by which record-info lags behind the end, divided by the time scale; may be
            infinite.
        record_style: See :class:`RecordStyle`.
        deliveries: Callbacks, one after the other.
        pictures: For each image, what the image host does with the requests for it.
        image_urls: Addresses announced instead of those of ``pictures``.
        music_title: Title of the piece of music, ``{id}`` standing for its id; ``None``: no record of it.
        hostile_id: The cover task id is a path out of the folder.
    """

    name: str
    summary: str
    exit_code: ExitCode = ExitCode.OK
    submits: tuple[Answer, ...] = (Answer(makes_job=True, names_job=True),)
    reads: tuple[Answer, ...] = (Answer(shows_record=True),)
    generation: float = 1.0
    code: int = 200
    message: str = "success"
    fails_in_envelope: bool = False
    record_lag_s: float = 0.0
    record_style: RecordStyle = RecordStyle.RECORDED
    deliveries: tuple[Delivery, ...] = (Delivery(),)
    pictures: tuple[tuple[Serve, ...], ...] = ((Serve.PNG,), (Serve.PNG,))
    image_urls: tuple[str, ...] | None = None
    music_title: str | None = "Music {id}"
    hostile_id: bool = False

    @property
    def succeeds(self) -> bool:
        """Whether the job ends well."""
        return self.code == 200  # noqa: PLR2004 -- the service's own word for success
