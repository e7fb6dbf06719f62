"""Projects: their settings, guidelines, members and invitations."""
