"""AWS without AWS: runtime, gateway, CloudFormation and IAM."""
