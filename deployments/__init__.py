"""What ships beside the code: the sample batch."""
