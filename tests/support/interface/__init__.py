"""List the texts that people read in the browser or get from the API. Called by script/interface_texts."""
