"""Give prompts to named people, follow what is left of them, and take them back."""
