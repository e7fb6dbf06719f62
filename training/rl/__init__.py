"""Compute PPO's maths, with decoding and layers that make it affordable: torch alone, no run directory."""
