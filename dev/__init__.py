"""What serves development only: a PostgreSQL of our own, and the local server.

Nothing of it runs on Lambda.
"""
