"""A Todo backend: FastAPI and SQLModel on AWS Lambda, rows in Neon PostgreSQL."""
