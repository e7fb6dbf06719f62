"""The pages of this app: each fetches and authorises, calls an action, and renders."""
