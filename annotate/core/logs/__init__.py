"""Write log lines with what they are about: a request, a run, a project, a user, by their ids."""
