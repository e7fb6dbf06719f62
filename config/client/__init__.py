"""Make the Python client of the API (`clients/python`): its operations and models, from the API's schema."""
