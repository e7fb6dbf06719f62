"""Hold DPO and KTO in a loop of their own, and GRPO and RLOO with TRL's trainers carried out as runs."""
