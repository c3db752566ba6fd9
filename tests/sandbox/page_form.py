"""What a browser does with a consent page, without one: read the form, untick, choose, press a button."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx


@dataclass
class Form(HTMLParser):
    """The form `#consent` of a page; every box and list must have a label."""

    page: str = field(repr=False)
    action: str = ""
    hidden: list[tuple[str, str]] = field(default_factory=list)
    boxes: dict[tuple[str, str], bool] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)
    _chosen: dict[str, str] = field(default_factory=dict)
    _labels: set[str] = field(default_factory=set)
    _ids: list[str] = field(default_factory=list)
    _list: str = ""
    _inside: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.page)
        assert self.action, self.page
        assert set(self._ids) <= self._labels
        assert len(self._ids) == len(set(self._ids))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        assert tag not in {"script", "img", "link", "iframe"}
        if tag == "form":
            self._inside = given["id"] == "consent"
            self.action = given["action"] if self._inside else self.action
        if tag == "label":
            self._labels.add(given["for"])
        if not self._inside:
            return
        if tag == "input" and given["type"] == "hidden":
            self.hidden.append((given["name"], given["value"]))
        elif tag == "input":
            self._ids.append(given["id"])
            self.boxes[given["name"], given["value"]] = "checked" in given
        elif tag == "select":
            self._list = given["name"]
            self._ids.append(given["id"])
            self.lists[self._list] = []
        elif tag == "option":
            self.lists[self._list].append(given["value"])
            if "selected" in given or self._list not in self._chosen:
                self._chosen[self._list] = given["value"]
        elif tag == "button":
            self.buttons[given["id"]] = (given["name"], given["value"])

    def untick(self, name: str, value: str) -> None:
        """Leave one box out."""
        assert self.boxes[name, value]
        self.boxes[name, value] = False

    def untick_all(self, name: str) -> None:
        """Leave all boxes of a group out."""
        for key in self.boxes:
            self.boxes[key] = self.boxes[key] and key[0] != name

    def choose(self, name: str, value: str) -> None:
        """Choose in a list."""
        assert value in self.lists[name], self.lists
        self._chosen[name] = value

    def values(self, name: str) -> list[str]:
        """The boxes of a group."""
        return [value for group, value in self.boxes if group == name]

    def press(self, client: httpx.Client, button: str = "approve") -> httpx.Response:
        """Send the form."""
        ticked = [key for key, checked in self.boxes.items() if checked]
        content = urlencode([*self.hidden, *ticked, *self._chosen.items(), self.buttons[button]])
        return client.post(self.action, content=content, headers={"Content-Type": "application/x-www-form-urlencoded"})


def landed(response: httpx.Response) -> dict[str, str]:
    """The query the app's callback is called with."""
    assert response.status_code == 302, response.text
    query = parse_qs(urlsplit(response.headers["location"]).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def fragment(response: httpx.Response) -> str:
    """What stands behind the # of a redirect."""
    return urlsplit(response.headers["location"]).fragment


def stays(response: httpx.Response, *texts: str) -> bool:
    """Whether it is an error of the page itself: HTML, no redirect, and these words."""
    return (
        response.status_code >= 400
        and "location" not in response.headers
        and response.headers["content-type"].startswith("text/html")
        and 'id="approve"' not in response.text
        and all(text in response.text for text in texts)
    )


def ids(rows: Iterable[dict[str, object]]) -> list[object]:
    """The ids of a list."""
    return [row["id"] for row in rows]
