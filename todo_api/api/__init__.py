"""The HTTP API: the only place, with app.py, that knows FastAPI and Starlette."""
