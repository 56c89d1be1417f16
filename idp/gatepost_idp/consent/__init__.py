"""What a person agreed to, how long that is remembered, and when remembering is enough to stay silent."""
