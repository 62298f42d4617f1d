"""How todos are stored: the only place with statements and connections."""
