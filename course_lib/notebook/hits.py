"""What several searches find for one question, printed."""

from collections.abc import Collection, Mapping
from textwrap import shorten


def print_hits(title: str, query: str, searches: Mapping, relevant: Collection[str], k: int = 3) -> None:
    """Print the first hits of each search, one per line; → marks a right answer.

    title: in front of the query.
    searches: {name: search}, as in `course_lib.search`.
    relevant: the ids of the right answers.
    k: hits of each search.
    """
    width = max(map(len, searches))
    print(f"{title}: {query}")
    for name, search in searches.items():
        for hit in search.search(query, k=k):
            text = shorten(hit.text, 70, placeholder=" …")
            print(f"  {name:{width}} {'→' if hit.id in relevant else ' '} {hit.score:.2f}  {hit.id}: {text}")
    print()
