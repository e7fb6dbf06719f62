"""The people of a project: members, invitations, joining."""
