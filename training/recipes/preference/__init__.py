"""Share among DPO, KTO, GRPO and RLOO: their data, and TRL's trainers carried out as runs."""
