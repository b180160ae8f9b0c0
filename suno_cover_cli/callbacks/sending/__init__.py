"""Requests on their way to a receiver, and its answers."""
