"""The session of ``listen``: what arrives, what is answered, how both are shown."""
