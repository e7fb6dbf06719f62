"""Red-teaming: talks with a nameless model that try to make it do harm."""
