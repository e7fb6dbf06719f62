"""How each server takes adapters while it runs. Pure: no Django."""
