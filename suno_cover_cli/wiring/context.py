"""What every command starts from: streams, clock, settings, keys."""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from suno_cover_cli.base.clock import Clock, SystemClock
from suno_cover_cli.base.environment import WEBHOOK_KEY_VARIABLE, ChildEnviron, without_secrets
from suno_cover_cli.base.keys import WebhookKey, hidden_profile_key, load_api_key, load_webhook_key
from suno_cover_cli.base.providers import PROVIDERS, Provider, Providers
from suno_cover_cli.base.settings import Settings, Sources, load_provider, load_settings
from suno_cover_cli.base.settings_file import config_path, load_config_file
from suno_cover_cli.base.settings_table import SETTINGS
from suno_cover_cli.base.text import Secret
from suno_cover_cli.options.groups import ProfileOptions, ProviderOptions, ServiceOptions, WebhookKeyOptions
from suno_cover_cli.tunnels.kinds import TUNNELS, TunnelKinds
from suno_cover_cli.ui.output import Output, WarningSink

if TYPE_CHECKING:
    from suno_cover_cli.journal.database import Database


def make_user_agent() -> str:
    """Name this program towards servers; image hosts refuse some default names."""
    from suno_cover_cli import __version__

    return f"suno-cover/{__version__}"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Where a command gets everything from that is not an option of its own.

    Attributes:
        output: Streams and environment.
        clock: Time.
        providers: That settings may name.
        tunnels: Kinds of tunnel to choose from.
        user_agent: Sent to every server.
    """

    output: Output
    clock: Clock = SystemClock()
    providers: Providers = PROVIDERS
    tunnels: TunnelKinds = TUNNELS
    user_agent: str = msgspec.field(default_factory=make_user_agent)

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
        return Sources(environ, load_config_file(config_path(environ)), profile, self.providers)

    def settings(self, options: ProfileOptions) -> tuple[Settings, Sources]:
        """Merge a command's options with everything else: an option that bears the name of a setting overrides it.

        Raises:
            UsageError: A value that cannot be.
        """
        sources = self.sources(options.profile)
        settings = load_settings({name: getattr(options, name, None) for name in SETTINGS}, sources)
        self.output.annotates &= settings.github != "off"
        return settings, sources

    def open_journal(self, state_dir: Path) -> "Database":
        """Return the journal's file, to be entered; damage that is met in it is reported as warnings."""
        from suno_cover_cli.journal.database import Database

        return Database(state_dir / "journal.sqlite3", clock=self.clock, sink=WarningSink(self.output))

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
        key, _ = load_api_key(settings.provider, sources, key_file=options.api_key_file, stdin=stdin)
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
