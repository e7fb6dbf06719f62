"""The API of this app: what its pages show and change, for programs, with the same rules."""
