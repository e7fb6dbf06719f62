"""What the judging forms are filled with: short answers of every look, a conversation, a hundred kilobytes."""

from __future__ import annotations

GUIDELINES = """Prefer the answer that **you** would rather have got.

- True before pleasing
- Short before long, where both say it all
- A refusal is right only where an answer would do harm
"""
PROMPT = "How do I keep bread from going stale, without a freezer?"
ANSWERS = [
    "Keep it **cut side down** on a board under a cloth for the first day, and in a paper bag inside a bread box after "
    "that. The crust keeps moisture in; plastic softens it and brings mould sooner.\n\n1. Never in the fridge: starch "
    "sets fastest at about 4 °C\n2. A slice that has gone stale comes back in the toaster\n",
    "Put the bread in the fridge. Cold keeps all food fresh for longer, so it will last a week or more.",
    "There are several ways:\n\n| where | days |\n|---|---|\n| bread box | 3 |\n| paper bag | 2 |\n| plastic | 4, soft "
    "crust |\n\nBuy smaller loaves if it still goes stale.",
    "Stale bread can be *revived*: sprinkle it with water and bake it for 5 minutes at 180 °C 🍞. 新鲜的面包最好吃。",
    "I am sorry, but I cannot help with that.",
    "```python\ndef keep(bread):\n    return wrap(bread, cloth='linen', days=2)  # a long line that has to scroll "
    "inside its own box and must not widen the page at all\n```\nUse a linen cloth.",
]
TURNS = [
    {"role": "system", "content": "Answer as a patient cook would, in a few sentences."},
    {"role": "user", "content": "My bread goes stale within two days. What am I doing wrong?"},
    {"role": "assistant", "content": "Nothing much! Where do you keep it, and is it **sliced** already?"},
    {"role": "user", "content": "In the fridge, and yes, it is sliced."},
    {
        "role": "assistant",
        "content": "There is the trouble: starch sets fastest at the temperature of a fridge. Keep it at room "
        "temperature, in paper:\n\n- whole rather than sliced\n- cut side down\n- away from the stove",
    },
]
# A hundred kilobytes with every look, and a line that nothing breaks.
LARGE = "".join(f"Line {n} says *something* and `code {n}`.\n\n" for n in range(2150)) + "x" * 3000
