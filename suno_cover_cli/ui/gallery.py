"""What ``gallery`` says in the terminal: where its page is, what is picked on it, and its end."""

from suno_cover_cli.base.errors import SunoCoverError
from suno_cover_cli.base.models import Picked, json_text
from suno_cover_cli.ui.output import Output


class GalleryReport:
    """Prints what happens: words for people, or one object a line.

    Args:
        output: Streams.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._picked: dict[str, Picked] = {}

    def report_ready(self, url: str, *, count: int, is_read_only: bool) -> None:
        """Say where the page is; its address alone opens it."""
        if self._output.is_json:
            self._output.write_line(json_text({"v": 1, "type": "ready", "url": url}))
            return
        jobs = "1 job" if count == 1 else f"{count} jobs"
        self._output.write_words(f"{jobs} with covers{', read-only' if is_read_only else ''}: {url}")
        self._output.write_words("The page is served on this machine until Ctrl-C.")

    def report_unopened(self, url: str) -> None:
        """Say that no browser could be opened."""
        self._output.write_words(f"No browser could be opened. Open this address yourself: {url}")

    def report_picked(self, task_id: str, picked: Picked) -> None:
        """Say what was chosen of a job; ``None``: the choice was taken back."""
        self._picked[task_id] = picked
        if self._output.is_json:
            line = {"v": 1, "type": "picked", "task_id": task_id, "n": picked}
            self._output.write_line(json_text(line))
            return
        what = "undecided again" if picked is None else "none of them" if picked == "none" else f"picked {picked}"
        self._output.write_words(f"{task_id}: {what}")

    def report_trouble(self, error: SunoCoverError) -> None:
        """Say why the page could not be answered."""
        self._output.write_words(f"The page could not be answered: {error.message}")
        if error.hint:
            self._output.write_labelled("hint", error.hint)

    def report_end(self, reason: str) -> None:
        """Say that it is over: ``decided``, or ``interrupted``."""
        decided = sum(picked is not None for picked in self._picked.values())
        if self._output.is_json:
            self._output.write_line(json_text({"v": 1, "type": "end", "reason": reason, "decided": decided}))
        elif reason == "decided":
            self._output.write_words("Every job is decided.")
