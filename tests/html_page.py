"""A report's page as a browser reads it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """A page's tags, what it asks a browser for, and its text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.asked: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data
