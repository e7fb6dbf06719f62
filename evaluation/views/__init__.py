"""The pages of this app. What they show is worked out in the packages beside this one, which know no page."""
