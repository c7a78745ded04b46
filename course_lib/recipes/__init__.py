"""How what ships with the course is made: models, records of runs, and the tables of README.md."""
