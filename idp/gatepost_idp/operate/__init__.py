"""Running the server: the guard in front of all routes, logs, metrics, background tasks, the listener, doctor."""
