"""OpenAI's chat protocol as other people's servers speak it: refusals, pace, and many questions at once. Pure."""
