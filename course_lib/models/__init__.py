"""The models of the course: what embeds a text, what scores a pair, what writes a query."""
