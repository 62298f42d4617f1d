"""The OpenAPI document, and clients generated from it."""
