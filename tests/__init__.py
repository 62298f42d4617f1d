"""Claims about the API, entering at the Lambda handler and ending in a real PostgreSQL."""
