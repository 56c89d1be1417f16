"""The rules of consent: what a person approved, how long it is remembered, and when it may be silent."""
