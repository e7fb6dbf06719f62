"""Labelled data as instructions, in FLAN's manner (Wei 2022, 2109.01652; Longpre 2023, 2301.13688).

`templates/<task>/*.jinja` hold the words, `templating` reads and renders them, `mixing` draws a collection. These are
pure: neither Django nor torch.
"""
