"""Draw answers by a policy that learns, and say how likely they are: what PPO, GRPO and RLOO share."""
