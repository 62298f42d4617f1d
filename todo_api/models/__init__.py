"""What a todo is: tables, bodies and pages. No I/O, and no FastAPI."""
