"""What `serverless deploy` runs on the way."""
