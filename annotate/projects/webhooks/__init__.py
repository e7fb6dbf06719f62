"""Events on their way to other tools: where they may go, how they are sent, and when again."""
