"""What every command starts from: streams, clock, settings, keys."""

import platform
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from suno_cover_cli import __version__
from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.errors import KeyRefusedError, SunoCoverError
from suno_cover_cli.base.events import NullSink, Sink
from suno_cover_cli.base.folders import JOURNAL_NAME, working_folder
from suno_cover_cli.base.keys import WebhookKey, hidden_profile_key, load_api_key, load_webhook_key
from suno_cover_cli.base.providers import (
    PROVIDERS,
    WEBHOOK_KEY_VARIABLE,
    ChildEnviron,
    Provider,
    Providers,
    without_secrets,
)
from suno_cover_cli.base.settings import (
    Settings,
    Sources,
    is_loopback_url,
    load_provider,
    load_settings,
    named_provider,
)
from suno_cover_cli.base.settings_file import config_path, load_config_file
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.options.groups import ProfileOptions, ProviderOptions, ServiceOptions, WebhookKeyOptions
from suno_cover_cli.tunnels.choice import TunnelKinds
from suno_cover_cli.tunnels.kinds import load_kinds
from suno_cover_cli.ui.output import Output
from suno_cover_cli.ui.sinks import WarningSink
from suno_cover_cli.ui.words import HANG_CHARS, Line

if TYPE_CHECKING:
    from suno_cover_cli.journal.database import Database
    from suno_cover_cli.journal.journal import Journal
    from suno_cover_cli.service.api import RetryPolicy, SunoApi

_PACKAGES = ("suno-cover", "aiohttp", "msgspec", "Pillow", "rich", "typer")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command gets everything from that is not an option of its own.

    Attributes:
        output: Streams and environment.
        clock: Time.
        providers: That settings may name.
        tunnels: Kinds of tunnel to choose from.
        user_agent: Sent to every server; image hosts refuse some default names.
    """

    output: Output
    clock: Clock = SystemClock()
    providers: Providers = PROVIDERS
    tunnels: TunnelKinds = msgspec.field(default_factory=load_kinds)
    user_agent: str = f"suno-cover/{__version__}"

    @property
    def secret_variables(self) -> tuple[str, ...]:
        """Names of all variables that hold keys and tokens."""
        return (*self.providers.key_variables, WEBHOOK_KEY_VARIABLE, *self.tunnels.secret_variables)

    @property
    def child_environ(self) -> ChildEnviron:
        """The environment for programs that this one starts: without keys and tokens."""
        return without_secrets(self.output.streams.environ, self.secret_variables)

    def sources(self, profile: str | None) -> Sources:
        """Read the settings file.

        Raises:
            UsageError: It is unusable.
        """
        environ = self.output.streams.environ
        is_named = bool(environ.get("SUNO_COVER_CONFIG"))
        file = load_config_file(config_path(environ), is_named=is_named)
        return Sources(environ, file, profile, self.providers)

    def settings(self, options: ProfileOptions) -> tuple[Settings, Sources]:
        """Merge a command's options with everything else: an option that bears the name of a setting overrides it.

        Raises:
            UsageError: A value that cannot be.
        """
        sources = self.sources(options.profile)
        settings = load_settings({name: getattr(options, name, None) for name in SETTINGS}, sources)
        self.output.annotates &= settings.github != "off"
        self.output.here = working_folder()
        return settings, sources

    def open_journal(self, state_dir: Path) -> "Database":
        """Return the journal's file, to be entered; damage that is met in it is reported as warnings."""
        from suno_cover_cli.journal.database import Database

        return Database(state_dir / JOURNAL_NAME, clock=self.clock, sink=WarningSink(self.output))

    def open_job_journal(self, settings: Settings, sink: Sink, *, is_required: bool = False) -> "Journal":
        """Return the journal as jobs are written into it, to be entered.

        Args:
            settings: Where it is, and how much of the past it keeps.
            sink: Hears warnings.
            is_required: One that cannot be opened is an error; otherwise jobs go on without it.
        """
        from suno_cover_cli.journal.journal import Journal

        return Journal(
            settings.state_dir,
            clock=self.clock,
            sink=sink,
            required=is_required,
            retention=settings.retention,
        )

    def open_api(
        self,
        settings: Settings,
        key: Secret,
        *,
        sink: Sink | None = None,
        policy: "RetryPolicy | None" = None,
        writes: bool = True,
    ) -> "AbstractAsyncContextManager[SunoApi]":
        """Return the API of the settings' service, to be entered; see :func:`~service.api.open_api`.

        Args:
            settings: Service, rate and state folder.
            key: Of the account.
            sink: Hears of every retry.
            policy: Patience; by default that of a command that makes a call or two.
            writes: The file of the limit is made where there is none.
        """
        from suno_cover_cli.service.api import open_api

        return open_api(
            settings,
            key,
            clock=self.clock,
            sink=sink or NullSink(),
            user_agent=self.user_agent,
            policy=policy,
            writes=writes,
        )

    def provider(self, sources: Sources, options: ProviderOptions) -> Provider:
        """Find the provider, for a command that needs no other setting.

        Raises:
            UsageError: No such provider.
        """
        return load_provider(options.provider, sources)

    def api_key(self, settings: Settings, sources: Sources, options: ServiceOptions) -> Secret:
        """Find the API key and keep it out of everything that is shown.

        Raises:
            KeyRefusedError: There is none.
            UsageError: What is there cannot be one.
        """
        stdin = self.output.streams.stdin
        key, _ = load_api_key(
            settings.provider,
            sources,
            key_file=options.api_key_file,
            stdin=stdin,
            base_url=settings.base_url,
        )
        self.output.redactor.add(key)
        if options.api_key_file is None and (line := hidden_profile_key(settings.provider, sources)):
            self.output.write_labelled("warning", line)
        return key

    def webhook_key(self, sources: Sources, options: WebhookKeyOptions) -> WebhookKey | None:
        """Find the key that signs callbacks, if there is one.

        Raises:
            UsageError: What is there cannot be one, or no such provider.
        """
        provider = self.provider(sources, options)
        stdin = self.output.streams.stdin
        key = load_webhook_key(provider, sources, key_file=options.webhook_key_file, stdin=stdin)
        self.output.redactor.add(key.secret if key is not None else None)
        return key


def package_versions(more: Iterable[str]) -> dict[str, str]:
    """Return the versions of this program and of what it leans on. Blocks: it reads files.

    Args:
        more: Names of further packages, such as those of the tunnels.
    """
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in (*_PACKAGES, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def report_details(context: Context, settings: Settings) -> None:
    """Say what a report of a fault should start with. Blocks: it reads files."""
    output = context.output
    for line in [] if output.is_quiet else _detail_lines(settings, context.tunnels.packages):
        output.write_words(str(line), hang=HANG_CHARS)


def _detail_lines(settings: Settings, packages: Iterable[str]) -> list[Line]:
    own, *others = (f"{name} {number}" for name, number in package_versions(packages).items())
    system = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    lines = [Line("version", f"{own}, {system}"), Line("", ", ".join(others))]
    for setting, declared in SETTINGS.items():
        value = getattr(settings, setting)
        if value is not None:
            key = declared.key or setting.replace("_", "-")
            shown = clean(getattr(value, "name", value))
            lines.append(Line("setting", f"{key} = {shown} ({clean(settings.sources[setting])})"))
    return lines


class KeyRing:
    """Which key opens which service: ``resume`` meets jobs of all that were used. A key is shown to its own only.

    The keys are read once, before the loop starts: files and standard input may block.

    Args:
        context: Streams.
        options: Of the command; its key file is for the service the settings name.
        settings: Merged.
        sources: Environment and settings file.
    """

    def __init__(self, context: Context, options: ServiceOptions, settings: Settings, sources: Sources) -> None:
        self._settings = settings
        self._keys: dict[str, Secret | SunoCoverError] = {}
        self._profile_keys: dict[tuple[str, str], Secret] = {}
        for provider in sources.providers.known:
            is_current = provider.name == settings.provider.name
            try:
                key, _ = load_api_key(
                    provider,
                    sources,
                    key_file=options.api_key_file if is_current else None,
                    stdin=context.output.streams.stdin,
                    base_url=settings.base_url if is_current else "",
                )
            except SunoCoverError as error:
                self._keys[provider.name] = error
            else:
                self._keys[provider.name] = key
        for name, values in sources.config.profiles.items():
            self._read_profile(context, sources, name, values)
        for found in (*self._keys.values(), *self._profile_keys.values()):
            if isinstance(found, Secret):
                context.output.redactor.add(found)

    def _read_profile(self, context: Context, sources: Sources, name: str, values: Mapping[str, Any]) -> None:
        if "api-key" not in values:
            return
        table = {**sources.config.values, **values}
        try:
            named = str(table.get("provider", sources.providers.default.name))
            provider = named_provider(named, name, sources.providers)
            # The key of the profile is wanted, not the one of the environment that would hide it.
            environ = {
                variable: value for variable, value in sources.environ.items() if variable != provider.key_variable
            }
            key, _ = load_api_key(
                provider,
                msgspec.structs.replace(sources, environ=environ, profile=name),
                key_file=None,
                stdin=context.output.streams.stdin,
            )
        except SunoCoverError:
            # A profile that was not asked for may be broken; its jobs then lack a key.
            return
        address = str(table.get("base-url", provider.base_url)).strip().rstrip("/")
        self._profile_keys[address, provider.name] = key

    @property
    def is_empty(self) -> bool:
        """Whether there is no key for any service."""
        return not any(isinstance(found, Secret) for found in (*self._keys.values(), *self._profile_keys.values()))

    def find_all(self, base_url: str, provider: Provider) -> tuple[Secret, ...]:
        """Return every key that may be one for a service: that of :meth:`find` and that of a profile.

        Which of them is to be shown to a service on this machine is for the caller to know.
        """
        key = self._find(base_url, provider)
        return key, self._profile_keys.get((base_url, provider.name), key)

    def find(self, base_url: str, provider: Provider) -> Secret:
        """Return the key for a service.

        The current one for the current service, a profile's for the address it names, else the provider's;
        but not when that is known to belong to another address.

        Raises:
            KeyRefusedError: There is none.
            UsageError: What is there cannot be a key.
        """
        is_kept = (base_url, provider.name) in self._profile_keys
        if is_loopback_url(base_url) and not self.is_current(base_url, provider) and not is_kept:
            # Whatever listens there now may be another's: a key for the internet is not shown to it.
            raise KeyRefusedError(
                f"there is no key for {clean(base_url, 100)}, a service on this machine",
                code="no_key",
                hint=f"Resume those with SUNO_BASE_URL={clean(base_url, 100)} and the key that it prints.",
            )
        return self._find(base_url, provider)

    def is_current(self, base_url: str, provider: Provider) -> bool:
        """Tell whether the settings name this service."""
        return (self._settings.base_url, self._settings.provider.name) == (base_url, provider.name)

    def _find(self, base_url: str, provider: Provider) -> Secret:
        settings, is_current = self._settings, self.is_current(base_url, provider)
        if not is_current and (base_url, provider.name) in self._profile_keys:
            return self._profile_keys[base_url, provider.name]
        found = self._keys[provider.name]
        if isinstance(found, SunoCoverError):
            raise found
        is_for_another = provider.name == settings.provider.name and settings.sources.get("base_url") != "default"
        if is_for_another and not is_current:
            raise KeyRefusedError(
                f"the key that is set is for {clean(settings.base_url, 100)}",
                code="no_key",
                hint=f"Resume those with SUNO_BASE_URL={clean(base_url, 100)} and the key for it.",
            )
        return found
