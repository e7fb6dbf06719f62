"""Train by GRPO and RLOO: several answers to each prompt are each other's baseline."""
