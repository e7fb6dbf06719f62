"""The maths of PPO, with decoding and layers that make it affordable: torch alone, no run directory."""
