"""Options, each declared once: a field of a dataclass that is the parser's signature and what a command gets."""
