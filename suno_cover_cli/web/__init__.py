"""Pages on this machine alone: a small server behind its guard, and what it shows."""
