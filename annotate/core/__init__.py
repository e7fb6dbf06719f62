"""Share among all subjects: errors, permissions, audit, events, periodic tasks, visitors, outgoing requests."""
