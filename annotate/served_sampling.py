"""How an answer is drawn for whoever reads it: in the arena, in the playground, to a red team, in bulk to be judged.

One default for all of them: people judge what they would be served. At temperature 1 a small model's answers are odd in
ways that no reader of the arena ever meets, and what is learnt from judging them is about those. PPO draws its
rollouts at temperature 1, as its own config says. Each completion keeps the settings that it was drawn with. Pure.
"""

from __future__ import annotations

TEMPERATURE = 0.7
TOP_P = 0.95
