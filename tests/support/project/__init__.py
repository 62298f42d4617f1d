"""Copies of the project, and its scripts."""
