"""Real parts for the tests: servers as processes or threads, a mail server, a person with a browser, a client."""
