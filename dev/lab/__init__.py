"""Stand-ins for Neon and AWS that the tests and the benchmark share."""
