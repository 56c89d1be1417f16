"""Mail: the outbox that loses nothing, the letters it renders, and the way to the SMTP server."""
