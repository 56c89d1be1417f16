"""What runs the server: the guard in front of every door, logs, health, housekeeping, the schema, the listener."""
