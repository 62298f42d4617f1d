"""The HTTP API, through the Lambda handler and the local server."""
