"""The rules of the project, and its documents."""
