"""The API as its OpenAPI document describes it."""
