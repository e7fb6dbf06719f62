"""Language models: registered, shown to whom, served by which server, and asked."""
