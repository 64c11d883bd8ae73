"""Reads the pages that Cleave writes."""
from html.parser import HTMLParser


class Page(HTMLParser):
    """The rows of the tables of a page, and all it would fetch."""

    def __init__(self):
        super().__init__()
        self.tables, self.fetched, self.title = {}, [], ""
        self.heading = self.tag = None

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        self.fetched += [tag] if tag in ("script", "link", "img", "iframe") else []
        self.fetched += [key for key, _ in attributes if key in ("src", "href")]
        if tag == "h2":
            self.heading = ""
        elif tag == "tr":
            self.tables.setdefault(self.heading, []).append([])
        elif tag in ("td", "th"):
            self.tables[self.heading][-1].append("")

    def handle_data(self, data):
        if self.tag == "title":
            self.title += data.strip()
        elif self.tag == "h2":
            self.heading += data.strip()
        elif self.tables.get(self.heading) and self.tag in ("td", "th", "code", "span", "br"):
            self.tables[self.heading][-1][-1] += data.strip() + " "

    def handle_endtag(self, tag):
        if tag == "h2":
            self.tag = None
