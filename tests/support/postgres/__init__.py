"""A PostgreSQL that is damaged, slow or away, and what is sent to it."""
