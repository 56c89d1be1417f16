"""Mail: the outbox worker, the mails it renders, and delivery to the SMTP server."""
