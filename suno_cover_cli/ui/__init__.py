"""What people and scripts see: streams, lines, live display, pictures, desktop."""
