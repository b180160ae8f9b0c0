"""Checks of everything a job needs."""
