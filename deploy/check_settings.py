"""Check the variables of the environment as the function does when it starts."""

import sys

from todo_api.settings import Settings, SettingsError


def main() -> None:
    """Exit with the reason if the function would not start."""
    try:
        Settings.from_environment()
    except SettingsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
