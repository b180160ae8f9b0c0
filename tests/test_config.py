"""The settings file: what may stand in it, who may read it, which value wins, and the commands that change it."""

import json
import os
import pty
import re
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from suno_cover_cli.base.errors import KeyRefusedError, UsageError
from suno_cover_cli.base.keys import hidden_profile_key, load_api_key
from suno_cover_cli.base.providers import KIE, SUNOAPI
from suno_cover_cli.base.settings import Settings, Sources, load_settings
from suno_cover_cli.base.settings_file import ConfigFile, config_path, load_config_file, set_value, unset_value
from suno_cover_cli.base.settings_table import FILE_KEYS, NUMBER, SETTINGS
from tests.cli_fixtures import Cli

KEY = "sk-very-secret-0123456789"  # opens nothing


def written(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a settings file."""
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def refusal(path: Path) -> UsageError:
    """Load a settings file that must be refused."""
    with pytest.raises(UsageError) as caught:
        load_config_file(path)
    return caught.value


def merged(path: Path, profile: str | None = None, environ: dict[str, str] | None = None) -> Settings:
    """Merge a file, an environment and no flags."""
    return load_settings({}, Sources(environ or {}, load_config_file(path), profile))


# --- what may stand in it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('provder = "kie"', 'no setting "provder"', '"provider"'),
        ('base_url = "https://x"', 'no setting "base_url"', '"base-url"'),
        ('[profile.work]\nprovider = "kie"', 'no setting "profile"', '"profiles"'),
        ('[profiles.work]\nouput = "x"', 'no setting "profiles.work.ouput"', '"output"'),
        ('zzz = "kie"', 'no setting "zzz"', "Known settings: provider,"),
    ],
)
def test_an_unknown_setting_is_told_with_the_nearest_known_one(
    tmp_path: Path, text: str, message: str, hint: str
) -> None:
    """A misspelt setting is refused by name, with the spelling that was probably meant."""
    error = refusal(written(tmp_path, text))
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "kind", "hint"),
    [
        ("rate = 20", "a number", 'rate = "20/10s"'),
        ("output = true", "a boolean", 'output = "True"'),
        ("callback = 2024-01-01", "a date", 'callback = "auto"'),
        ('domain = ["a"]', "a list", 'domain = "..."'),
        ('[provider]\nname = "kie"', "a table", 'provider = "..."'),
        ("profiles = 3", "must be tables", "[profiles.NAME]"),
        ("[profiles]\nwork = 3", "must be tables", "[profiles.NAME]"),
    ],
)
def test_a_value_of_the_wrong_type_is_told_with_the_right_spelling(
    tmp_path: Path, text: str, kind: str, hint: str
) -> None:
    """A value that is no text is refused with its kind and a line that would do."""
    error = refusal(written(tmp_path, text))
    assert kind in error.message
    assert hint in error.hint


def test_a_key_of_the_wrong_type_is_never_repeated(tmp_path: Path) -> None:
    """A key pasted without quotes is refused without its digits in the message."""
    error = refusal(written(tmp_path, "api-key = 9876543210"))
    assert "9876543210" not in error.message + error.hint


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b'provider = "kie"\nrate = = 3\n', "line 2, column 8"),
        (b'provider = "kie', "line 1"),
        (b'# one\n# two\noutput = "\xff"\n', "line 3, column 11"),
        (b'provider = "kie"\nprovider = "kie"\n', "line 2"),
    ],
)
def test_a_syntax_error_is_told_with_its_place(tmp_path: Path, raw: bytes, place: str) -> None:
    """What is no TOML is refused with the line, and the column where there is one."""
    path = tmp_path / "config.toml"
    path.write_bytes(raw)
    error = refusal(path)
    assert str(path) in error.message
    assert place in error.message


def test_a_folder_in_the_place_of_the_file_is_told_as_one(tmp_path: Path) -> None:
    """A folder where the file should be is named as a folder."""
    folder = tmp_path / "config.toml"
    folder.mkdir()
    assert "is a folder" in refusal(folder).message


def test_an_endless_file_is_refused_unread() -> None:
    """A settings file without end is refused after its first mebibyte."""
    assert "too long" in refusal(Path("/dev/zero")).message


def test_a_missing_file_is_an_empty_one(tmp_path: Path) -> None:
    """Nobody needs a settings file."""
    assert load_config_file(tmp_path / "none.toml") == ConfigFile(tmp_path / "none.toml", is_there=False)


@pytest.mark.skipif(os.name != "posix", reason="modes mean this on POSIX only")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_with_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A key in a file open to group or world stops the program, which names the command that mends it."""
    path = written(tmp_path, f'[profiles.work]\napi-key = "{KEY}"\n', mode)
    error = refusal(path)
    assert "others can read it" in error.message
    assert error.hint == f"Run: chmod 600 '{path}'"
    path.chmod(0o600)
    assert load_config_file(path).profiles["work"]["api-key"] == KEY


def test_a_file_without_a_key_may_be_read_by_anybody(tmp_path: Path) -> None:
    """Only a key makes the file's mode matter."""
    assert merged(written(tmp_path, 'output = "art"', 0o644)).output == Path("art")


# --- which value wins -----------------------------------------------------------------------------------------


def test_flags_go_before_variables_before_profile_before_file_before_default(tmp_path: Path) -> None:
    """Each value comes from the first place that has one, and says which that was."""
    path = written(
        tmp_path,
        'output = "file"\nrate = "1/1s"\ndomain = "file.example"\ncallback = "off"\n'
        '[profiles.work]\nrate = "2/1s"\noutput = "profile"\n',
    )
    config = load_config_file(path)
    settings = load_settings(
        {"callback": "required", "output": None}, Sources({"SUNO_COVER_OUTPUT": "variable"}, config, "work")
    )
    assert (settings.callback, settings.sources["callback"]) == ("required", "--[no-]tunnel")
    assert (settings.output, settings.sources["output"]) == (Path("variable"), "SUNO_COVER_OUTPUT")
    assert (settings.rate, settings.sources["rate"]) == ("2/1s", f"{path} [profiles.work]")
    assert (settings.domain, settings.sources["domain"]) == ("file.example", str(path))
    assert (settings.name, settings.sources["name"]) == ("cover_{n}", "default")


def test_an_unknown_profile_is_told_with_the_nearest_known_one(tmp_path: Path) -> None:
    """A misspelt profile is refused with the one that was probably meant."""
    path = written(tmp_path, '[profiles.work]\nprovider = "kie"\n')
    with pytest.raises(UsageError, match="no profile") as caught:
        merged(path, "wrok")
    assert "--profile work" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('provider = "suno"', "unknown provider"),
        ('base-url = "ftp://x"', "not a usable base URL"),
        ('base-url = "http://example.org"', "unencrypted"),
        ('base-url = "https://me:pass@example.org"', "not a usable base URL"),
        ('callback = "maybe"', "unknown callback mode"),
        ('preview = "yes"', "unknown preview mode"),
        ('rate = "0/1s"', "is not a rate"),
        ('domain = "not a name"', "is not a domain name"),
        ('name = "../{n}"', "cannot name files"),
        ('output = "~nobody-of-this-name/covers"', "does not exist"),
        ('output = "a\\u0000b"', "cannot be a path"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_source(tmp_path: Path, line: str, message: str) -> None:
    """Every impossible value is refused with the file it stands in and what would do."""
    path = written(tmp_path, line)
    with pytest.raises(UsageError) as caught:
        merged(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert "pass@" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("key", [key for key, name in FILE_KEYS.items() if SETTINGS[name].values != NUMBER])
def test_the_hint_for_a_number_is_a_line_that_works(tmp_path: Path, key: str) -> None:
    """Whoever writes ``rate = 5`` is shown a line for that setting which is accepted as it stands."""
    with pytest.raises(UsageError) as caught:
        merged(written(tmp_path, f"{key} = 5\n"))
    shown = re.search(rf"{key} = \"[^\"]+\"", caught.value.hint)
    assert shown is not None
    merged(written(tmp_path, f"{shown[0]}\n"))


def test_a_kept_key_goes_to_its_own_provider_only(tmp_path: Path) -> None:
    """The key of one provider is never used for the other, neither by flag nor through a profile."""
    path = written(tmp_path, f'api-key = "{KEY}"\n[profiles.k]\nprovider = "kie"\n')
    config = load_config_file(path)
    stdin = Path(os.devnull).open("rb")  # noqa: SIM115 -- closed below
    with stdin:
        for provider, profile in ((KIE, None), (KIE, "k")):
            with pytest.raises(KeyRefusedError) as caught:
                load_api_key(provider, Sources({}, config, profile), key_file=None, stdin=stdin)
            assert "is for sunoapi" in caught.value.hint
        key, source = load_api_key(SUNOAPI, Sources({}, config, None), key_file=None, stdin=stdin)
    assert (key.reveal(), source) == (KEY, str(path))


def test_the_other_providers_variable_is_pointed_out(tmp_path: Path) -> None:
    """Whoever has set the variable of the other provider is told so."""
    where = Sources({"SUNO_API_KEY": KEY}, load_config_file(tmp_path / "none"), None)
    with Path(os.devnull).open("rb") as stdin, pytest.raises(KeyRefusedError) as caught:
        load_api_key(KIE, where, key_file=None, stdin=stdin)
    assert "SUNO_API_KEY is set" in caught.value.hint
    assert KEY not in caught.value.hint


def test_a_variable_that_hides_the_profiles_key_is_pointed_out(tmp_path: Path) -> None:
    """Asking for a profile while the environment holds another key does not go unsaid."""
    path = written(tmp_path, f'[profiles.work]\napi-key = "{KEY}"\n')
    config = load_config_file(path)
    told = hidden_profile_key(SUNOAPI, Sources({"SUNO_API_KEY": "another"}, config, "work"))
    assert told is not None
    assert "SUNO_API_KEY" in told
    assert hidden_profile_key(SUNOAPI, Sources({"SUNO_API_KEY": KEY}, config, "work")) is None
    assert hidden_profile_key(SUNOAPI, Sources({"SUNO_API_KEY": "another"}, config, None)) is None


# --- changing it ----------------------------------------------------------------------------------------------


def test_changes_keep_comments_and_order(tmp_path: Path) -> None:
    """Setting and unsetting values leaves what a person wrote around them."""
    path = written(tmp_path, '# mine\nprovider = "kie"  # for now\n\n[profiles.a]\nrate = "off"\n')
    set_value(path, "output", "art", profile=None)
    set_value(path, "provider", "sunoapi", profile=None)
    set_value(path, "domain", "x.example", profile="b")
    assert unset_value(path, "rate", profile="a")
    assert not unset_value(path, "rate", profile="a")
    text = path.read_text()
    assert "# mine\n" in text
    assert 'provider = "sunoapi"  # for now\n' in text
    assert tomllib.loads(text) == {
        "provider": "sunoapi",
        "output": "art",
        "profiles": {"b": {"domain": "x.example"}},
    }


@pytest.mark.skipif(os.name != "posix", reason="modes and links mean this on POSIX only")
def test_a_changed_file_is_private_and_a_link_stays_a_link(tmp_path: Path) -> None:
    """A file is left with mode 0600 whatever it had, and a link into another folder is written through."""
    real = written(tmp_path, "", 0o644)
    link = tmp_path / "link.toml"
    link.symlink_to(real)
    set_value(link, "api-key", KEY, profile=None)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert KEY in real.read_text()
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_file_that_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    """A folder in the way of the file is told, and nothing is left behind."""
    (tmp_path / "config.toml").mkdir()
    (tmp_path / "config.toml" / "keep").touch()
    with pytest.raises(UsageError, match="cannot read"):
        set_value(tmp_path / "config.toml", "rate", "off", profile=None)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot (read|write)"):
        set_value(tmp_path / "file" / "config.toml", "rate", "off", profile=None)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.toml", "file"]


def test_a_relative_home_in_the_path_is_expanded(tmp_path: Path) -> None:
    """SUNO_COVER_CONFIG may start with a tilde, as in a shell."""
    assert config_path({"SUNO_COVER_CONFIG": "~/x.toml"}) == Path.home() / "x.toml"
    assert config_path({"SUNO_COVER_CONFIG": str(tmp_path / "y")}) == tmp_path / "y"


# --- the commands ---------------------------------------------------------------------------------------------


def test_a_key_is_kept_from_stdin_and_used(cli: Cli) -> None:
    """A piped key ends in a private file, is in force afterwards, and is never printed."""
    kept = cli.run("config", "set", "api-key", "-", stdin=f"Bearer {KEY}\n")
    assert (kept.code, kept.stdout) == (0, "")
    path = Path(cli.environ["SUNO_COVER_CONFIG"])
    assert tomllib.loads(path.read_text()) == {"api-key": KEY}
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = cli.run("config", "show")
    assert re.search("^api-key +\\(set, not shown\\) ", shown.stdout, re.MULTILINE)
    assert re.search(r"^provider +sunoapi +default", shown.stdout, re.MULTILINE)
    # However long a value is, the last column starts in the same place everywhere.
    assert len({line.rindex("  ") for line in shown.lines}) == 1, shown.stdout
    assert str(path) in shown.stderr
    as_json = cli.run("config", "show", "--json")
    rows = {row["key"]: row for row in as_json.objects[0]["settings"]}
    assert rows["api-key"] == {
        "key": "api-key",
        "value": None,
        "source": str(path),
        "is_set": True,
        "is_secret": True,
    }
    printed = kept.stderr + shown.stdout + shown.stderr + as_json.stdout + as_json.stderr
    assert KEY not in printed


def test_a_key_on_the_command_line_is_refused_unrepeated(cli: Cli) -> None:
    """A key typed as an argument is not kept and not shown; the answer says how to do it."""
    refused = cli.run("config", "set", "api-key", KEY)
    assert refused.code == 2
    assert "config set api-key -" in refused.stderr
    assert KEY not in refused.stderr
    assert not Path(cli.environ["SUNO_COVER_CONFIG"]).exists()


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals elsewhere")
def test_a_key_typed_at_a_terminal_is_not_shown(cli: Cli) -> None:
    """On a terminal the key is asked for, and what is typed is not echoed."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        cli.command("config", "set", "webhook-key"),
        cwd=cli.cwd,
        env=cli.environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    screen = b""
    while b"not shown):" not in screen:
        screen += os.read(leader, 4096)
    os.write(leader, KEY.encode() + b"\n")
    try:
        while piece := os.read(leader, 4096):
            screen += piece
    except OSError:  # Linux says so when the other side is closed
        pass
    finally:
        os.close(leader)
    assert process.wait(10) == 0
    assert KEY.encode() not in screen
    assert tomllib.loads(Path(cli.environ["SUNO_COVER_CONFIG"]).read_text()) == {"webhook-key": KEY}


def test_an_empty_key_is_refused(cli: Cli) -> None:
    """Nothing on stdin is no key, and the file stays as it was."""
    refused = cli.run("config", "set", "api-key", "-", stdin="\n")
    assert refused.code == 2
    assert "is empty" in refused.stderr
    assert not Path(cli.environ["SUNO_COVER_CONFIG"]).exists()


def test_values_are_checked_before_they_are_written(cli: Cli) -> None:
    """A value that cannot be is refused with the fix; a good one is written as it will be used."""
    refused = cli.run("config", "set", "provider", "kei")
    assert refused.code == 2
    assert "sunoapi" in refused.stderr
    assert cli.run("config", "set", "providr", "kie").code == 2
    assert cli.run("config", "set", "--profile", "../x", "provider", "kie").code == 2
    assert cli.run("config", "set", "provider").code == 2
    assert not Path(cli.environ["SUNO_COVER_CONFIG"]).exists()
    assert cli.run("config", "set", "--profile", "work", "domain", "https://My.Example.org/").code == 0
    shown = cli.run("config", "show", "--profile", "work", "--json").objects[0]
    values = {setting["key"]: setting["value"] for setting in shown["settings"]}
    assert values["domain"] == "my.example.org"
    assert shown["profiles"] == ["work"]


def test_a_value_that_the_environment_hides_is_said_to_be_hidden(cli: Cli) -> None:
    """Setting what a variable goes before is done, with a warning."""
    done = cli.run("config", "set", "output", "art", SUNO_COVER_OUTPUT="elsewhere")
    assert done.code == 0
    assert "warning: SUNO_COVER_OUTPUT" in done.stderr


def test_init_writes_a_file_in_which_nothing_is_set(cli: Cli) -> None:
    """The starter is valid, sets nothing, names every setting, and is not written twice."""
    made = cli.run("config", "init")
    assert made.code == 0
    path = Path(made.stdout.strip())
    assert cli.run("config", "path").stdout.strip() == str(path)
    assert load_config_file(path) == ConfigFile(path)
    commented = [line.removeprefix("# ") for line in path.read_text().splitlines() if " = " in line]
    merged_all = load_settings({}, Sources({}, ConfigFile(path, tomllib.loads("\n".join(commented))), None))
    assert merged_all.sources["preview"] == str(path)
    again = cli.run("config", "init")
    assert again.code == 2
    assert "already" in again.stderr


def test_unset_takes_a_value_out_and_says_when_there_was_none(cli: Cli) -> None:
    """Unsetting is done once and harmless twice; an unknown profile is refused."""
    cli.run("config", "set", "rate", "off")
    assert "is no longer set" in cli.run("config", "unset", "rate").stderr
    second = cli.run("config", "unset", "rate")
    assert (second.code, "was not set" in second.stderr) == (0, True)
    assert cli.run("config", "unset", "rate", "--profile", "none").code == 2


def test_a_broken_file_stops_every_command_with_its_place(cli: Cli) -> None:
    """A file with an error is told before anything else happens, as an object under --json too."""
    Path(cli.environ["SUNO_COVER_CONFIG"]).write_text("provider = kie\n")
    for command in (["config", "show", "--json"], ["status", "--json", "abc"], ["generate", "--json", "abc"]):
        run = cli.run(*command)
        assert run.code == 2
        assert json.loads(run.stdout)["code"] == "usage"
        assert "line 1, column 12" in run.stderr
