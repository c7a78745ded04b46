"""The runs behind the comparison and behind domain adaptation, their records and their report."""
