"""GET /authorize to the finish page: the checks of a request, and the journey that one function decides."""
