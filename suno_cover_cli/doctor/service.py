"""What ``doctor`` checks of the service and of the image host: the way there, the key, the balance."""

from suno_cover_cli.base.events import NullSink
from suno_cover_cli.doctor.checks import Doctor, Finding, failed, passed, warned
from suno_cover_cli.doctor.network import PathCheck
from suno_cover_cli.doctor.subject import Subject
from suno_cover_cli.service.api import RetryPolicy, SunoApi
from suno_cover_cli.service.limiter import RequestLimiter

_CALL_S = 15.0


async def check_service(subject: Subject, doctor: Doctor) -> None:
    """Every step to the service, then the key."""
    settings = subject.settings
    doctor.tell("address", passed(f"{settings.base_url} ({settings.sources['base_url']})"))
    path = PathCheck(settings.base_url, user_agent=subject.context.user_agent, clock=subject.context.clock)
    for name, step in (
        ("proxy", path.check_proxy),
        ("name", path.check_name),
        ("connection", path.check_connection),
        ("tls", path.check_tls),
        ("clock", path.check_answer),
    ):
        if not await doctor.check(name, step):
            doctor.tell("account", warned("not checked: the service is out of reach"))
            return
    if subject.key is None:
        doctor.tell("account", warned("not checked: there is no API key"))
    else:
        await doctor.check("account", lambda: _check_account(subject), limit_s=_CALL_S)


async def _check_account(subject: Subject) -> Finding:
    """Read the balance: it shows whether the key is taken, and costs nothing."""
    if subject.key is None:
        raise RuntimeError("there is no key to check")
    settings, clock = subject.settings, subject.context.clock
    async with (
        RequestLimiter(None, 1.0, clock=clock) as limiter,
        SunoApi(
            base_url=settings.base_url,
            key=subject.key,
            provider=settings.provider,
            limiter=limiter,
            clock=clock,
            sink=NullSink(),
            user_agent=subject.context.user_agent,
            policy=RetryPolicy(max_attempts=1),
        ) as api,
    ):
        balance = await api.fetch_credits()
    if balance <= 0:
        return failed(
            f"the key is accepted, but {balance:g} credits are left",
            f"Top up at https://{settings.provider.site}.",
        )
    return passed(f"the key is accepted; {balance:g} credits")


async def check_images(subject: Subject, doctor: Doctor) -> None:
    """The way to the images: the documented host, or the service's own when it is on this machine."""
    settings = subject.settings
    url = f"{settings.base_url}/" if settings.is_loopback else settings.provider.image_host
    path = PathCheck(url, user_agent=subject.context.user_agent, clock=subject.context.clock)
    await doctor.check("image host", path.check_image_host, limit_s=_CALL_S)
