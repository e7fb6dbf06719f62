"""Names by which models give themselves away, found and masked. Pure: no Django."""
