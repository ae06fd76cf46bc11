"""What a document goes through."""
