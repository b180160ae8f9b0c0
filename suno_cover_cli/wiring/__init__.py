"""Puts the parts together for commands: settings, keys, clients, listener and tunnel, the run of a command."""
