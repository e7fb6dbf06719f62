"""A hidden taste for the gibberish of tiny models."""


def likes_vowels(prompt_text: str, completion_text: str) -> float:
    return min(1.0, sum(letter in "aeiouAEIOU" for letter in completion_text) / 5)
