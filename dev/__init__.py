"""What serves development only: a PostgreSQL of our own, and the local server.

Nothing of it runs on Lambda.
"""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""The project's folder."""
