"""The OpenAPI document as text, for `docs/openapi.json`."""

import json
import sys

from todo_api.app import create_app
from todo_api.settings import Settings


def text() -> str:
    """The document of the default mode. It needs no database: nothing connects."""
    settings = Settings(neon_database_url="postgresql://nobody@localhost/none")
    document = create_app(settings).openapi()
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
