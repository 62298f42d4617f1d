"""Lambda events, Lambda's runtime client, and the local server."""
