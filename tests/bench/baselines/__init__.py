"""What a user would pick or write instead; honest, short, unchecked."""
