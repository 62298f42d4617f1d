"""What a request costs, against the least that it can cost and against what people usually write."""
