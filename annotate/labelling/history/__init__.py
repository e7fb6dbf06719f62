"""Show one's own annotations with their receipts, and the audit trail of a project."""
