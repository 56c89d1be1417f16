"""Sign-in by mailed link or code, which signs in only the browser that asked for it."""
