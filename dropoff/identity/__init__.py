"""Who is calling: from a request's headers to a `Caller`, the only thing the house believes."""
