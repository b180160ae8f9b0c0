"""What people give instead of an id, to every command that takes one: each answer names it, and what to do."""

import json
import re
import shlex
import sys
from pathlib import Path

from tests.cli_fixtures import Cli

SONG = "https://suno.com/song/e2310000-0000-0000-0000-00008cadc7dc"
SONG_ID = "e2310000-0000-0000-0000-00008cadc7dc"

# What is typed -> what the answer holds. MUSIC and COVER are ids of a job that the journal knows.
ANSWERS = {
    # an address
    f"generate {SONG}": ("it is an address", "data.taskId"),
    "generate suno.com/song/abc": ("it is an address", "data.taskId"),
    f"wait {SONG}": ("it is an address", "generate --no-wait"),
    f"status {SONG}": ("it is an address", "suno-cover history"),
    f"resume {SONG}": ("it is an address", "suno-cover history"),
    f"history {SONG}": ("it is an address", "suno-cover history"),
    f"pick {SONG} 1": ("it is an address", "suno-cover history"),
    f"export {SONG}": ("it is an address", "suno-cover history"),
    f"embed song.mp3 --cover {SONG}": ("it is an address", "suno-cover history"),
    f"gallery {SONG}": ("it is an address", "suno-cover history"),
    # the placeholder itself
    "generate MUSIC_TASK_ID": ("it is a placeholder", "data.taskId"),
    "generate ID": ("it is a placeholder", "data.taskId"),
    "generate <music-task-id>": ("it is a placeholder", "data.taskId"),
    "generate $id": ("it is a placeholder", "data.taskId"),
    "generate {id}": ("it is a placeholder", "data.taskId"),
    "generate xxx": ("it is a placeholder", "data.taskId"),
    "generate 音乐任务ID": ("it is a placeholder", "data.taskId"),
    "wait COVER_TASK_ID": ("it is a placeholder", "generate --no-wait"),
    "status COVER_TASK_ID": ("it is a placeholder", "suno-cover history"),
    "resume TASK_ID": ("it is a placeholder", "suno-cover history"),
    "history TASK_ID": ("it is a placeholder", "suno-cover history"),
    "pick ID 1": ("it is a placeholder", "suno-cover history"),
    "export ID": ("it is a placeholder", "suno-cover history"),
    "embed song.mp3 --cover ID": ("it is a placeholder", "suno-cover history"),
    "gallery ID": ("it is a placeholder", "suno-cover history"),
    # a file
    "generate ids.txt": ("it is a file", "suno-cover generate --input ids.txt"),
    "wait ids.txt": ("it is a file", "suno-cover wait --input ids.txt"),
    "status ids.txt": ("it is a file", "suno-cover wait --input ids.txt"),
    "generate song.mp3": ("it is a song file", "data.taskId"),
    "wait song.mp3": ("it is a song file", "generate --no-wait"),
    "pick song.mp3 1": ("is a file, not the id of a job", "suno-cover history"),
    "export song.mp3": ("is an audio file, not a picture", "suno-cover embed song.mp3"),
    "embed ids.txt --cover COVER": ("is not a song", "mp3, flac"),
    "generate --input nothing.txt": ("cannot read nothing.txt", "--input"),
    "generate --input song.mp3": ("not a music task id", "song.mp3, line 1"),
    # a title, or words
    "generate 夜行": ("it is text, not an id", "data.taskId"),
    "wait 夜行": ("it is text, not an id", "generate --no-wait"),
    "pick 夜行 1": ("it is text, not an id", "suno-cover history"),
    "export 夜行": ("it is text, not an id", "suno-cover history"),
    "generate 'Night Drive'": ("not a music task id", "it contains ' '"),
    "generate ''": ("not a music task id", "it is empty"),
    "generate ../covers": ("not a music task id", '".."'),
    "wait -- -rf": ("not a cover task id", 'begins with "-"'),
    # an id of the other kind, or of nothing
    "generate COVER": ("COVER", "suno-cover wait COVER"),
    "pick MUSIC 7": ("MUSIC has no variant 7", "1, 2"),
    "pick MUSIC one": ('"one" is not a variant', "from 1"),
    "pick nothing 1": ('knows no job "nothing"', "suno-cover history"),
    "resume nothing": ('knows no job "nothing"', "suno-cover wait nothing", "suno-cover generate nothing"),
    "history nothing": ('knows no job "nothing"', "suno-cover status"),
    "export nothing": ('knows no job "nothing"', "a picture file"),
    "embed song.mp3 --cover nothing": ('knows no job "nothing"', "a picture file"),
    "replay 99 --to 9": ('no recorded event is "99"', "suno-cover listen --list"),
    "replay EVENT --to 9": ('no recorded event is "EVENT"', "suno-cover listen --list"),
    "replay last --to 9": ("no event has been recorded", "suno-cover listen"),
}


def test_each_wrong_id_gets_the_sentence_that_helps(cli: Cli) -> None:
    """What was typed, what it is and where the right id is found, in two lines, before anything is submitted."""
    music = "5c79be8e10f14bb28a4a5e5fd5b1f3a0"
    (made,) = cli.run("generate", "--sandbox", music, "--json").objects
    cover = made["task_id"]
    assert cli.run("pick", music, "1").code == 0
    (cli.cwd / "ids.txt").write_text("a\n")
    (cli.cwd / "song.mp3").write_bytes(b"ID3\4\0\0\0\0\0\0\0\xff\xfb")
    jobs = cli.run("history", "--json").lines

    def fill(text: str) -> str:
        return re.sub(r"\bMUSIC\b", music, re.sub(r"\bCOVER\b", cover, text))

    wrong = []
    for line, answer in ANSWERS.items():
        words = shlex.split(fill(line))
        run = cli.run(*words, SUNO_API_KEY="k" * 20, SUNO_BASE_URL="http://127.0.0.1:9")
        said = run.stderr.splitlines()
        is_whole = run.code in {2, 12} and not run.stdout and [text[:6] for text in said] == ["error:", "hint: "]
        if not is_whole or not all(fill(part) in run.stderr for part in answer):
            wrong.append((line, run.code, run.stdout, run.stderr))
    assert wrong == []
    assert len(ANSWERS) >= 40
    assert cli.run("history", "--json").lines == jobs, "something was submitted"
    assert not list(Path(cli.cwd).glob("exports/*"))


def test_listen_waits_for_a_job_by_either_id(cli: Cli) -> None:
    """``--until-task`` takes the music task id of a known job, although its callback names the cover task."""
    music = "5c79be8e10f14bb28a4a5e5fd5b1f3a0"
    (made,) = cli.run("generate", "--sandbox", music, "--json").objects
    body = json.dumps({"code": 200, "data": {"taskId": made["task_id"], "images": ["https://x.example/1.png"]}})
    post = "import os, sys, urllib.request as u; u.urlopen(os.environ['SUNO_CALLBACK_URL'], sys.argv[1].encode())"
    for named in (music, made["task_id"]):
        wait = ("listen", "--no-tunnel", "--until-task", named, "--timeout", "20s", "--")
        run = cli.run(*wait, sys.executable, "-c", post, body)
        assert run.code == 0, run.stderr
