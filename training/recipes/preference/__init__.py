"""What DPO, KTO, GRPO and RLOO share: their data, and TRL's trainers carried out as runs."""
