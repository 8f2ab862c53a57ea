"""A folder of clips as one page that needs no server: heard, compared, starred."""

from sa3_edge.takes.page import INDEX, write_page
from sa3_edge.takes.take import STARS, Star, Take, takes_of

__all__ = ["INDEX", "STARS", "Star", "Take", "takes_of", "write_page"]
