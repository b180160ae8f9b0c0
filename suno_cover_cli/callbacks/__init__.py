"""Callbacks: received, read, trusted or not, sent on and sent as samples."""
