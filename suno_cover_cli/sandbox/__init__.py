"""An imitation of the service on loopback: for a first try without a key, for scripts and CI, for the tests.

It shares no models with the client, so that a misreading of the service by one is not repeated by the other::

    script.py     the words a scenario is written in
    scenarios.py  the table of scenarios; cheap to import, completions read it
    jobs.py       what the imitation knows of each job, and the same on disk, for those who kill and restart it
    service.py    submit, record-info, balance, and what they say of a job at a moment
    replies.py    a scripted answer as bytes on a connection: whole, short, cut, endless
    callback_sender.py    callbacks and their retries
    image_host.py    the image host
    pictures.py   the bytes of the pictures
    app.py        Sandbox: one server in front of it all
"""
