"""The build, the template and the deploy."""
