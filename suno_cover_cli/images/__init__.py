"""Images: from the address of one to a whole, checked file."""
