"""What TAB offers, answered from a table."""
