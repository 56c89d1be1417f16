"""From GET /authorize to the finish page: checks of the request, then its journey through sign-in and consent."""
