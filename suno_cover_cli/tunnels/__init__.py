"""How the service reaches us: the tunnel, the agent behind it, and the check that it leads to us."""
