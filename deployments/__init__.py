"""What ships beside the code: the sample batch, the handoffs, and the command's way in."""
