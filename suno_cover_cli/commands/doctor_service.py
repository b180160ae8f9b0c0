"""What ``doctor`` checks of the service and of the image host: the way there, the key, the balance."""

from urllib.parse import urlsplit

from suno_cover_cli.commands.doctor_parts import Patient
from suno_cover_cli.doctor import Examiner, Finding, failed, in_daemon_thread, passed, warned
from suno_cover_cli.doctor_network import PathCheck, find_route
from suno_cover_cli.events import NullSink
from suno_cover_cli.service.api import RetryPolicy, SunoApi
from suno_cover_cli.service.limiter import RequestLimiter

IMAGE_HOST = "https://tempfile.aiquickdraw.com/"
"""Where every example has its images (documented); others occur."""

_CALL_S = 15.0


async def check_service(patient: Patient, examiner: Examiner) -> None:
    """Every step to the service, then the key."""
    settings = patient.settings
    examiner.tell("address", passed(f"{settings.base_url} ({settings.sources['base_url']})"))
    route = await in_daemon_thread(lambda: find_route(settings.base_url))
    path = PathCheck(route, user_agent=patient.context.user_agent, clock=patient.context.clock)
    for name, step in (
        ("proxy", path.check_proxy),
        ("name", path.check_name),
        ("connection", path.check_connection),
        ("tls", path.check_tls),
        ("clock", path.check_answer),
    ):
        if not await examiner.check(name, step):
            examiner.tell("account", warned("not checked: the service is out of reach"))
            return
    if patient.key is None:
        examiner.tell("account", warned("not checked: there is no API key"))
    else:
        await examiner.check("account", lambda: _check_account(patient), limit_s=_CALL_S)


async def _check_account(patient: Patient) -> Finding:
    """Read the balance: it shows whether the key is taken, and costs nothing."""
    if patient.key is None:
        raise RuntimeError("there is no key to check")
    settings, clock = patient.settings, patient.context.clock
    async with (
        RequestLimiter(None, 1.0, clock=clock) as limiter,
        SunoApi(
            base_url=settings.base_url,
            key=patient.key,
            provider=settings.provider,
            limiter=limiter,
            clock=clock,
            sink=NullSink(),
            user_agent=patient.context.user_agent,
            policy=RetryPolicy(max_attempts=1),
        ) as api,
    ):
        balance = await api.fetch_credits()
    if balance <= 0:
        return failed(f"the key is accepted, but {balance:g} credits are left", f"Top up at {_home_of(patient)}.")
    return passed(f"the key is accepted; {balance:g} credits")


def _home_of(patient: Patient) -> str:
    parts = urlsplit(patient.settings.provider.key_page)
    return f"{parts.scheme}://{parts.netloc}"


async def check_images(patient: Patient, examiner: Examiner) -> None:
    """The way to the images: the documented host, or the service's own when it is on this machine."""
    settings = patient.settings
    url = f"{settings.base_url}/" if settings.is_loopback else IMAGE_HOST
    route = await in_daemon_thread(lambda: find_route(url))
    path = PathCheck(route, user_agent=patient.context.user_agent, clock=patient.context.clock)
    await examiner.check("image host", path.check_image_host, limit_s=_CALL_S)
