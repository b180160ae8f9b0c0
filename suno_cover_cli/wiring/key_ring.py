"""Which key opens which service: ``resume`` meets jobs of all that were used; a key is shown to its own only."""

from collections.abc import Mapping
from typing import Any

import msgspec

from suno_cover_cli.base.errors import KeyRefusedError, SunoCoverError
from suno_cover_cli.base.keys import load_api_key
from suno_cover_cli.base.providers import Provider
from suno_cover_cli.base.settings import Settings, Sources, named_provider
from suno_cover_cli.base.text import Secret, clean
from suno_cover_cli.options.groups import ServiceOptions
from suno_cover_cli.wiring.context import Context


class KeyRing:
    """The keys there are, read once and before the loop starts: files and standard input may block.

    Args:
        context: Streams.
        options: Of the command; its key file is for the service the settings name.
        settings: Merged.
        where: Environment and settings file.
    """

    def __init__(self, context: Context, options: ServiceOptions, settings: Settings, where: Sources) -> None:
        self._settings = settings
        self._keys: dict[str, Secret | SunoCoverError] = {}
        self._profile_keys: dict[tuple[str, str], Secret] = {}
        for provider in where.providers.known:
            is_current = provider.name == settings.provider.name
            try:
                key, _ = load_api_key(
                    provider,
                    where,
                    key_file=options.api_key_file if is_current else None,
                    stdin=context.output.streams.stdin,
                )
            except SunoCoverError as error:
                self._keys[provider.name] = error
            else:
                self._keys[provider.name] = key
        for name, values in where.config.profiles.items():
            self._read_profile(context, where, name, values)
        for found in (*self._keys.values(), *self._profile_keys.values()):
            if isinstance(found, Secret):
                context.output.redactor.add(found)

    def _read_profile(self, context: Context, where: Sources, name: str, values: Mapping[str, Any]) -> None:
        if "api-key" not in values:
            return
        table = {**where.config.values, **values}
        try:
            named = str(table.get("provider", where.providers.default.name))
            provider = named_provider(named, name, where.providers)
            # The key of the profile is wanted, not the one of the environment that would hide it.
            environ = {
                variable: value for variable, value in where.environ.items() if variable != provider.key_variable
            }
            key, _ = load_api_key(
                provider,
                msgspec.structs.replace(where, environ=environ, profile=name),
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

    def find(self, base_url: str, provider: Provider) -> Secret:
        """Return the key for a service.

        The current one for the current service, a profile's for the address it names, else the provider's;
        but not when that is known to belong to another address.

        Raises:
            KeyRefusedError: There is none.
            UsageError: What is there cannot be a key.
        """
        settings = self._settings
        is_current = (settings.base_url, settings.provider.name) == (base_url, provider.name)
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
