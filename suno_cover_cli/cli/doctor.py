"""``doctor``: look at everything a job needs, change nothing, name the fix."""

from suno_cover_cli.doctor.options import DoctorOptions
from suno_cover_cli.options.declare import Command


def doctor(options: DoctorOptions) -> None:
    """Check key, service, tunnel, images and folders, and name the fix for what is wrong.

    Changes nothing and asks nothing. Exit code: 1 when a check failed, else 0.
    """
    from suno_cover_cli.doctor.report import examine
    from suno_cover_cli.wiring.runner import run_command

    run_command(lambda context: examine(options, context), is_json=options.json)


COMMAND = Command(doctor)
