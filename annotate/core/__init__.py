"""What all subjects share: errors, permissions, audit, events, periodic tasks, visitors, the way out."""
