"""What a request costs, compared with bare psycopg2 and with SQLModel's tutorial."""
