"""Sign-in by mail. The mailed link alone signs nobody in: only the browser that asked can be signed in."""
