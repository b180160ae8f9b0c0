"""The three durable steps of a job by hand: plain ``sqlite3``, the journal's own table, indexes and pragmas.

``journal.py SECONDS``. A line of input names a folder, and is answered when the database there is open;
the next one is the word to begin, and is answered with the steps a second. So it goes on until the input ends.
"""

import json
import os
import sqlite3
import sys
import time
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, service TEXT, provider TEXT,
    music_task_id TEXT, task_id TEXT, state TEXT, code INTEGER, output TEXT, options TEXT, result TEXT, owner TEXT,
    created_at REAL, submitted_at REAL, completed_at REAL, updated_at REAL);
CREATE INDEX IF NOT EXISTS by_music ON jobs (service, music_task_id);
CREATE INDEX IF NOT EXISTS by_task ON jobs (task_id);
CREATE INDEX IF NOT EXISTS by_state ON jobs (state);
"""
SERVICE = "https://api.example"
FIND = "SELECT id FROM jobs WHERE service = ? AND music_task_id = ?"
CLAIM = (
    "INSERT INTO jobs (service, provider, music_task_id, state, output, options, owner, created_at, updated_at)"
    " VALUES (?, 'sunoapi', ?, 'submitting', ?, '{}', ?, ?, ?)"
)
SUBMITTED = "UPDATE jobs SET task_id = ?, state = 'submitted', submitted_at = ?, updated_at = ? WHERE id = ?"
ENDED = "UPDATE jobs SET state = 'succeeded', code = 200, result = ?, owner = NULL, updated_at = ? WHERE id = ?"

STEPS = 3

owner = str(os.getpid())
for line in sys.stdin:
    folder = line.rstrip("\n")
    connection = sqlite3.connect(Path(folder) / "bare.sqlite3", timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    connection.executescript(SCHEMA)
    print("open", flush=True)  # noqa: T201 -- a script
    sys.stdin.readline()
    n = 0
    begun = time.perf_counter()
    while time.perf_counter() < begun + float(sys.argv[1]):
        n += 1
        name = f"{owner}-{n}"
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute(FIND, (SERVICE, name)).fetchone() is None:
            now = time.time()
            job_id = connection.execute(CLAIM, (SERVICE, name, folder, owner, now, now)).lastrowid
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        now = time.time()
        connection.execute(SUBMITTED, (f"cover-{name}", now, now, job_id))
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        result = json.dumps({"music_task_id": name, "task_id": f"cover-{name}", "state": "succeeded", "code": 200})
        connection.execute(ENDED, (result, time.time(), job_id))
        connection.execute("COMMIT")
    print(n * STEPS / (time.perf_counter() - begun), flush=True)  # noqa: T201 -- the same
    connection.close()
