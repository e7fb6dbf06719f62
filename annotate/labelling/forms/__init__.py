"""What may be said about an item, checked and stored."""
