"""Callers of the API, and servers for them."""
