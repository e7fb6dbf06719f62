"""Compare methods: arms × seeds on the same annotations, blind in the arena, by a plan fixed before the first vote."""
