"""A job from its task id to its covers: the order of things and the wait."""
