"""What people and programs do here, each a function: one transaction, or no change and the reason why."""
