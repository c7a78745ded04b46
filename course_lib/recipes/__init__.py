"""How the models that ship with the course were made."""
