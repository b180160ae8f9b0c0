"""The service: requests to it, what its answers mean, how many it allows."""
