"""Show how much data a project has, with a link to the page of each kind."""
