"""The pages of the embedded server, over HTTP."""

import base64
import html
import json
import re
import struct
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from lakefs_ops import LakeFSClient
from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.pages import history
from lakefs_ops.local.sample import _png
from lakefs_ops.uri import Links

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
LAKE = "pages"
MANY = 230
"""More of anything than two pages hold."""

ACTION = {"name": "said", "on": {"pre-commit": {"branches": ["acts"]}}}
SKIPPED = {"id": "skipped", "type": "lua", "if": "false", "properties": {"script": "print(1)"}}  # starts no process
SAYS = {"id": "says", "type": "lua", "properties": {"script": "for i = 1, 4000 do print('<b>line ' .. i) end"}}
FAILS = {"id": "fails", "type": "lua", "properties": {"script": "error('the column is missing')"}}
WEBP = base64.b64decode("UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA")
BMP = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 58, 0, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(4)
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
ODD = ["with space", "100%", "%2F", "a+b", "a#b", "what?", "a&b=c", "\u65e5\u672c", "back\\slash", "<b>", "n" * 400]


class Site:
    def __init__(self, server):
        self.server = server
        self.api = requests.Session()
        self.api.trust_env = False
        self.api.auth = (server.access_key_id, server.secret_access_key)
        self.browser = requests.Session()
        self.browser.trust_env = False

    def call(self, method, path, **arguments):
        answer = self.api.request(method, f"{self.server.endpoint}/api/v1/repositories{path}", timeout=30, **arguments)
        assert answer.ok, answer.text
        return answer

    def put(self, path, content, branch="main", **arguments):
        self.call("POST", f"/{LAKE}/branches/{branch}/objects", params={"path": path}, data=content, **arguments)

    def commit(self, message, branch="main", **fields):
        return self.call("POST", f"/{LAKE}/branches/{branch}/commits", json={"message": message, **fields}).json()["id"]

    def log_in(self, next="", **form):
        keys = {"access_key_id": self.server.access_key_id, "secret_access_key": self.server.secret_access_key}
        url = f"{self.server.endpoint}/auth/login"
        return self.browser.post(url, data={**keys, "next": next, **form}, allow_redirects=False, timeout=30)

    def get(self, page, **query):
        url = page if page.startswith("http") else f"{self.server.endpoint}/repositories/{LAKE}/{page}"
        return self.browser.get(url, params=query, allow_redirects=False, timeout=30)


@pytest.fixture(scope="module")
def site():
    with LocalLakeFS() as server:
        site = Site(server)
        site.call("POST", "", json={"name": LAKE, "storage_namespace": f"local://{LAKE}"})
        site.put("both.txt", b"0")
        site.put("table.csv", b"a,b\n1,<i>2</i>\n")
        site.put("picture.png", _png("x"))
        site.put("bytes.bin", bytes(range(256)))
        site.put(f"evil/{HOSTILE}.html", HOSTILE.encode(), headers={"Content-Type": "text/html"})
        site.commit("first")
        site.call("POST", f"/{LAKE}/branches", json={"name": "dev", "source": "main"})
        site.call("POST", f"/{LAKE}/branches", json={"name": "side", "source": "main"})
        for branch in ("main", "dev"):
            site.put("both.txt", branch.encode(), branch)
            site.commit(f"on {branch}", branch)
        site.put("side.txt", b"1", "side")
        metadata = {"::lakefs::Airflow::url[url:ui]": "http://airflow/log", "x[url:ui]": "javascript:alert(1)"}
        site.evil = site.commit(HOSTILE, "side", metadata=metadata)
        site.call("POST", f"/{LAKE}/refs/side/merge/main", json={})
        pull = {"title": HOSTILE, "description": HOSTILE, "source_branch": "dev", "destination_branch": "main"}
        site.pull = site.call("POST", f"/{LAKE}/pulls", json=pull).json()["id"]
        assert site.log_in().status_code == 303
        yield site
        site.api.close()
        site.browser.close()


def addresses(site):
    links = Links(site.server.endpoint)
    return [
        links.repository(LAKE),
        links.objects(LAKE, "main"),
        links.objects(LAKE, "main", f"evil/{HOSTILE}.html"),
        links.commit(LAKE, site.evil),
        links.commits(LAKE, "main"),
        links.compare(LAKE, "main", "dev"),
        links.uncommitted(LAKE, "main"),
        links.branches(LAKE),
        links.pull(LAKE, site.pull),
    ]


@pytest.mark.parametrize("number", range(9))
def test_every_link_opens_after_the_login_and_is_inert(site, number):
    url = addresses(site)[number]
    answer = site.get(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
    tags = re.findall(r"<[^>]*>", answer.text)
    assert not [tag for tag in tags if re.search(r"<(script|style)|\s(on\w+|style)\s*=|javascript:", tag)]
    asked = requests.get(url, allow_redirects=False, timeout=30)
    assert asked.status_code == 302
    assert asked.headers["Location"].startswith("/auth/login?next=%2Frepositories%2F")


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"])
def test_the_login_leads_to_own_pages_alone(site, target):
    assert site.log_in(target).headers["Location"] == "/repositories"


def test_a_wrong_secret(site):
    answer = site.log_in(secret_access_key="no")
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_a_wrong_secret_of_a_server_with_keys_of_its_own():
    with LocalLakeFS(access_key_id="AKIAOWN", secret_access_key="own") as server:
        site = Site(server)
        assert "AKIA" not in site.get(f"{server.endpoint}/auth/login").text
        text = site.log_in("/repositories/lake", secret_access_key="no").text
        assert 'role="alert"' in text
        assert 'value="AKIAOWN"' in text
        assert 'name="next" value="/repositories/lake"' in text
        assert 'value="no"' not in text
        site.api.close()
        site.browser.close()


def test_previews(site):
    assert "<td>&lt;i&gt;2&lt;/i&gt;</td>" in site.get("objects", path="table.csv").text
    assert "<img" in site.get("objects", path="picture.png").text
    assert "The content is not text; download it" in site.get("objects", path="bytes.bin").text
    assert site.get("raw", path="picture.png").headers["Content-Type"] == "image/png"
    raw = site.get("raw", path=f"evil/{HOSTILE}.html")
    assert raw.headers["Content-Type"] == "application/octet-stream"
    assert raw.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")


def test_the_graph_has_a_node_for_each_commit(site):
    commits = site.call("GET", f"/{LAKE}/refs/main/commits").json()["results"]
    assert site.get("commits", ref="main").text.count("<circle") == len(commits) == 5


def test_buttons_and_conflicts(site):
    page = site.get(f"commits/{site.evil}").text
    assert 'href="http://airflow/log"' in page
    assert "Open Airflow UI" in page
    assert 'href="javascript' not in page
    assert 'class="change conflict"' in site.get("compare", ref="main", compare="dev").text


# paging -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(site):
    """A repository of more than two pages of everything."""
    name = "full"
    site.call("POST", "", json={"name": name, "storage_namespace": f"local://{name}"})

    def put(path, content, branch="main"):
        site.call("POST", f"/{name}/branches/{branch}/objects", params={"path": path}, data=content)

    def commit(branch="main", **fields):
        site.call("POST", f"/{name}/branches/{branch}/commits", json={"message": "m", **fields})

    for number in range(MANY):
        put(f"many/{number:03}", b"1")
    commit()
    for number in range(30):
        branch = f"merged-{number:02}"
        site.call("POST", f"/{name}/branches", json={"name": branch, "source": "main"})
        for step in range(3):
            put(f"{number}-{step}", b"1", branch)
            commit(branch)
        put("main", str(number))
        commit()
        onto = f"merged-{number - 1:02}" if number % 5 == 4 else "main"
        site.call("POST", f"/{name}/refs/{branch}/merge/{onto}", json={})
        if onto != "main":
            site.call("POST", f"/{name}/refs/{onto}/merge/main", json={})
    for number in range(MANY):
        site.call("POST", f"/{name}/branches", json={"name": f"b{number:03}", "source": "main"})
        site.call("POST", f"/{name}/tags", json={"id": f"t{number:03}", "ref": "main"})
        pull = {"title": f"pull {number:03}", "source_branch": f"b{number:03}", "destination_branch": "main"}
        site.call("POST", f"/{name}/pulls", json=pull)
    put("_lakefs_actions/a.yaml", json.dumps({"name": "tagged", "on": {"pre-create-tag": None}, "hooks": [SKIPPED]}))
    commit()
    for number in range(105):
        site.call("POST", f"/{name}/tags", json={"id": f"u{number:03}", "ref": "main"})
    return name


def through(site, url):
    """Follow the links to the next page; return the pages."""
    pages = []
    while url:
        answer = site.get(url)
        assert answer.status_code == 200
        pages.append(answer.text)
        found = re.search(r'<a href="([^"]*)"[^>]* rel="next"', answer.text)
        url = site.server.endpoint + html.unescape(found[1]) if found else ""
        assert len(pages) < 50
    return pages


@pytest.mark.parametrize(
    ("page", "api", "key", "pattern"),
    [
        ("objects?ref=main&path=many/", "refs/main/objects/ls?prefix=many/", "path", r"path=(many%2F\d+)\""),
        ("branches", "branches", "id", r'class="ref" title="([^"]*)"'),
        ("tags", "tags", "id", r'class="ref tag" title="([^"]*)"'),
        ("pulls", "pulls", "id", r'/pulls/(\w+)"'),
        ("actions", "actions/runs", "run_id", r'/actions/(\w+)"'),
        ("commits?ref=main", "refs/main/commits", "id", r'title="([0-9a-f]{64})"'),
        ("commits?ref=merged-29", "refs/merged-29/commits", "id", r'title="([0-9a-f]{64})"'),
        ("compare?ref=main~30&compare=main", "refs/main~30/diff/main?type=three_dot", "path", r"path=([^&\"]+)\""),
    ],
)
def test_the_pages_hold_each_thing_once_in_its_order(site, full, page, api, key, pattern):
    listed = site.call("GET", f"/{full}/{api}", params={"amount": 1000}).json()["results"]
    pages = through(site, f"{site.server.endpoint}/repositories/{full}/{page}")
    shown = [name.replace("%2F", "/") for text in pages for name in re.findall(pattern, text)]
    assert shown == [item[key] for item in listed]
    assert len(pages) == -(-len(listed) // 100)


def test_a_late_page_of_the_log_begins_where_it_is_told(site, full):
    log = site.call("GET", f"/{full}/refs/main/commits", params={"amount": 1000}).json()["results"]
    text = site.get(f"{site.server.endpoint}/repositories/{full}/commits?ref=main&after={log[-2]['id'][:16]}").text
    assert re.findall(r'title="([0-9a-f]{64})"', text) == [commit["id"] for commit in log[-2:]]


@pytest.mark.parametrize("after", ["0" * 16, "x", "..", "main", "0", "%"])
def test_a_page_of_the_log_that_never_was(site, after):
    assert site.get("commits", ref="main", after=after).status_code in (200, 404)


def test_lines_of_the_graph_go_on_over_pages(site, full, monkeypatch):
    def drawn(most):
        monkeypatch.setattr(history, "PAGE_ROWS", most)
        pages = through(site, f"{site.server.endpoint}/repositories/{full}/commits?ref=main")
        rows = [row for text in pages for row in re.findall(r"<svg.*?</svg>", text)]
        return [re.findall(r"<(?:path|circle) [^>]*>", row) for row in rows]

    whole = drawn(1000)
    assert any(len(row) > 4 for row in whole)
    assert drawn(7) == whole


def test_what_names_begin_with_can_be_found(site, full):
    url = f"{site.server.endpoint}/repositories/{full}"
    assert re.findall(r'class="ref" title="([^"]*)"', site.get(f"{url}/branches?prefix=b00").text) == [
        f"b00{digit}" for digit in range(10)
    ]
    assert "No tag starts with &lt;b&gt;." in site.get(f"{url}/tags?prefix=<b>").text
    assert ">full</a>" in site.get(f"{site.server.endpoint}/repositories?search=ul").text
    assert "No pull request is closed." in site.get(f"{url}/pulls?status=closed").text


# what is not there --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "status", "said"),
    [
        ("objects?path=none", 404, "There is nothing at none in main."),
        ("objects?ref=main&path=a/b", 404, "There is nothing at a/b in main."),
        ("objects?ref=run-1", 404, "There is no branch, tag or commit run-1."),
        ("compare?ref=main&compare=run-1", 404, "There is no branch, tag or commit run-1."),
        ("changes?ref=run-1", 404, "There is no branch, tag or commit run-1."),
        ("changes?ref=main~1", 404, "only a branch has uncommitted changes"),
        ("commits?ref=<i>", 404, "There is no branch, tag or commit &lt;i&gt;."),
        ("objects?ref=main~x", 400, "main~x names no commit."),
        ("commits/0000000000", 404, "There is no commit 0000000000."),
        ("pulls/none", 400, ""),
        ("actions/none", 404, ""),
        ("nothing", 404, "There is no page at this address."),
        ("raw", 400, "no path"),
    ],
)
def test_what_is_not_there(site, page, status, said):
    answer = site.get(f"{site.server.endpoint}/repositories/{LAKE}/{page}")
    assert answer.status_code == status
    assert said in answer.text
    assert f'<a href="/repositories/{LAKE}/pulls">Pull requests</a>' in answer.text
    assert "All repositories" in answer.text


def test_the_way_back_from_an_object_that_is_not_there_leads_to_its_folder(site):
    assert f"/repositories/{LAKE}/objects?ref=main&amp;path=a%2F" in site.get("objects", ref="main", path="a/b").text


def test_a_repository_that_is_not_there(site):
    answer = site.get(f"{site.server.endpoint}/repositories/none/objects")
    assert answer.status_code == 404
    assert "There is no repository none." in answer.text


def test_a_bare_repository(site):
    site.call("POST", "", params={"bare": True}, json={"name": "bare", "storage_namespace": "local://bare"})
    assert "it has no branch until" in site.get(f"{site.server.endpoint}/repositories/bare/objects").text


# empty pages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["objects", "changes", "tags", "pulls", "actions"])
def test_an_empty_page_says_how_to_fill_it(site, page):
    name = f"empty-{page}"
    site.call("POST", "", json={"name": name, "storage_namespace": f"local://{name}"})
    url = f"{site.server.endpoint}/repositories/{name}/{page}"
    told = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", site.get(url).text, re.DOTALL)
    keys = {"access_key_id": site.server.access_key_id, "secret_access_key": site.server.secret_access_key}
    with LakeFSClient(site.server.endpoint, **keys) as client:
        exec(html.unescape(told[1]), {"client": client})
    ends = time.monotonic() + 10  # hooks after an event run behind its answer
    while "<tbody>" not in (filled := site.get(url).text) and time.monotonic() < ends:
        time.sleep(0.02)
    assert "<tbody>" in filled
    assert 'class="empty"' not in filled


def test_a_server_without_repositories_says_how_to_make_one():
    with LocalLakeFS() as server:
        site = Site(server)
        site.log_in()
        told = re.search(r"<pre[^>]*><code>(.*?)</code></pre>", site.get(f"{server.endpoint}/repositories").text)
        with LakeFSClient(
            server.endpoint, access_key_id=server.access_key_id, secret_access_key=server.secret_access_key
        ) as client:
            exec(html.unescape(told[1]), {"client": client})
        assert "/repositories/lake/objects" in site.get(f"{server.endpoint}/repositories").text
        site.api.close()
        site.browser.close()


# content ------------------------------------------------------------------------------------------------


def table_of(text):
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("quoted.csv", b'a,b\n"1\n2","x,y"\n', [["a", "b"], ["1\n2", "x,y"]]),
        ("ragged.csv", b"a,b\n1\n1,2,3\n", [["a", "b", ""], ["1", "", ""], ["1", "2", "3"]]),
        ("semicolons.csv", b"a;b\n1,5;2\n", [["a", "b"], ["1,5", "2"]]),
        ("tabs.tsv", b"a\tb\n1\t2\n", [["a", "b"], ["1", "2"]]),
        ("marked.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
    ],
)
def test_tables(site, name, content, rows):
    site.put(f"tables/{name}", content)
    assert table_of(site.get("objects", path=f"tables/{name}").text) == rows


def test_a_large_table_shows_its_beginning(site):
    site.put("tables/large.csv", "n,text\n" + "".join(f"{number},row {number}\n" for number in range(10_000)))
    text = site.get("objects", path="tables/large.csv").text
    assert len(table_of(text)) == 201
    assert "The first 64.0 KiB of 134.6 KiB. Showing 200 rows." in text
    assert '<th scope="col" class="number">n</th>' in text


@pytest.mark.parametrize(
    ("content", "kind"),
    [(_png("x"), "image/png"), (WEBP, "image/webp"), (BMP, "image/bmp"), (SVG, "image/svg+xml"),
     (b"\0\0\0\x20ftypavif", "image/avif"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a;", "image/gif")],
)  # fmt: skip
def test_images_are_shown_and_run_nothing(site, content, kind):
    site.put("shown", content)
    assert "<img" in site.get("objects", path="shown").text
    raw = site.get("raw", path="shown")
    assert raw.content == content
    assert raw.headers["Content-Type"] == kind
    assert raw.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    saved = site.get("raw", path="shown", download="1")
    assert saved.headers["Content-Type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("lakes.parquet", b"PAR1\0\0\xffPAR1", "The content is a Parquet table; download it to see its 11 B."),
        ("a.zip", b"PK\x03\x04\0\0", "The content is a ZIP archive"),
        ("empty", b"", "The object is empty."),
        ("latin", "Gr\xfc\xdfe".encode("latin-1"), "Gr\xfc\xdfe"),
        ("wide", "Gr\xfc\xdfe".encode("utf-16"), "Gr\xfc\xdfe"),
        ("BMW", b"BMW, GIF8, <svg", "BMW, GIF8, &lt;svg"),
        ("html", b"<html><svg></svg></html>", "&lt;html&gt;"),
        ("a.json", b'{"a": [1.0, "x, [y]"], "b": {}}', '{\n  "a": [\n    1.0,\n    "x, [y]"\n  ],\n  "b": {}\n}'),
        ("b.json", b'{"a":1}\n{"a":2}\n', '{"a":1}\n{"a":2}\n'),
        ("deep.json", b"[" * 60 + b"]" * 60, "[\n  [\n    [\n"),
        ("deep and long.json", b"[" * 400 + b"1," * 20_000 + b"1" + b"]" * 400, "1,1,1,1"),
        ("deeper.json", b"[" * 60_000, "[" * 1000),
        ("cut", "\u00fc".encode() * 40_000, "The first 64.0 KiB of 78.1 KiB."),
        ("cut inside a character", b"x" + "\u00fc".encode() * 40_000, "The first 64.0 KiB of 78.1 KiB."),
    ],
)
def test_what_a_preview_says(site, name, content, said):
    site.put(f"said/{name}", content)
    text = site.get("objects", path=f"said/{name}").text
    assert said in text or said in html.unescape(text)


def test_the_readme_of_a_folder_is_shown_below_it(site):
    site.put("folder/README.md", b"# What <this> is\n")
    assert "# What &lt;this&gt; is" in site.get("objects", path="folder/").text


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_found_by_following_the_links(site, name):
    path = f"odd/{name}/{name}"
    site.put(path, f"this is {name}".encode())
    url = f"{site.server.endpoint}/repositories/{LAKE}/objects?ref=main&path=odd/"
    for part in (f"{name}/", name):
        text = site.get(url).text
        links = re.findall(r'<a href="([^"]*)" class="name">([^<]*)</a>', text)
        to = next(to for to, shown in links if html.unescape(shown) == part)
        url = site.server.endpoint + html.unescape(to)
    page = site.get(url)
    assert f"this is {html.escape(name)}" in page.text
    raw = re.search(r'href="([^"]*/raw[^"]*)"', page.text)
    assert site.get(site.server.endpoint + html.unescape(raw[1])).content == f"this is {name}".encode()
    assert site.get(Links(site.server.endpoint).objects(LAKE, "main", path)).status_code == 200


# work ---------------------------------------------------------------------------------------------------


def test_a_pull_request_whose_branch_is_gone(site):
    site.call("POST", f"/{LAKE}/branches", json={"name": "brief", "source": "main"})
    pull = {"title": "t", "source_branch": "brief", "destination_branch": "main"}
    id = site.call("POST", f"/{LAKE}/pulls", json=pull).json()["id"]
    site.call("DELETE", f"/{LAKE}/branches/brief")
    answer = site.get(f"pulls/{id}")
    assert answer.status_code == 200
    assert "Cannot be merged: there is no branch brief." in answer.text


def test_a_failed_run_shows_the_end_of_what_its_hooks_said(site):
    site.call("POST", f"/{LAKE}/branches", json={"name": "acts", "source": "main"})
    site.put("_lakefs_actions/said.yaml", json.dumps(ACTION | {"hooks": [SAYS, FAILS]}).encode(), "acts")
    url = f"{site.server.endpoint}/api/v1/repositories/{LAKE}/branches/acts/commits"
    assert site.api.post(url, json={"message": "m"}, timeout=30).status_code == 412
    run = site.call("GET", f"/{LAKE}/actions/runs").json()["results"][0]["run_id"]
    answer = site.get(Links(site.server.endpoint).action_run(LAKE, run))
    assert answer.status_code == 200
    assert "&lt;b&gt;line 4000" in answer.text
    assert "the column is missing" in answer.text
    assert 'class="badge bad">failed' in answer.text


def test_a_commit_of_many_branches_names_some(site, full):
    head = site.call("GET", f"/{full}/branches/main").json()["commit_id"]
    for number in range(30):
        site.call("POST", f"/{full}/branches", json={"name": f"x{number:02}", "source": "main"})
    text = site.get(f"{site.server.endpoint}/repositories/{full}/commits/{head}").text
    assert re.search(r" and 1\d\d more", text)


# the frame ----------------------------------------------------------------------------------------------


def test_a_page_can_be_read_by_machines_and_without_a_mouse(site):
    for url in addresses(site):
        text = site.get(url).text
        assert text.count("<main") == text.count("<h1") == 1
        assert '<a href="#content" class="skip">' in text
        assert 'lang="en"' in text
        assert all("aria-label" in nav for nav in re.findall(r"<nav[^>]*>", text))
        assert all("alt=" in image for image in re.findall(r"<img[^>]*>", text))
        for box in re.findall(r"(<label>.*?)?(<input[^>]*>)", text):
            assert box[0] or "aria-label" in box[1]
    times = re.findall(r'<time datetime="([^"]*)"', site.get("commits", ref="main").text)
    assert len(times) == len(site.call("GET", f"/{LAKE}/refs/main/commits").json()["results"])
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)


def test_head_answers_as_get_without_the_body(site):
    for url in [*addresses(site), f"{site.server.endpoint}/_assets/style.css"]:
        whole, head = site.get(url), site.browser.head(url, timeout=30)
        assert head.status_code == whole.status_code
        assert head.content == b""
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]


def test_nothing_is_changed_through_a_page(site):
    answer = site.browser.post(f"{site.server.endpoint}/repositories/{LAKE}/branches", timeout=30)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_from_a_link_over_the_login_to_the_page_and_out_again(site):
    url = Links(site.server.endpoint).objects(LAKE, "main", f"evil/{HOSTILE}.html")
    with requests.Session() as browser:
        browser.trust_env = False
        form = browser.get(url, timeout=30)
        wanted = parse_qs(urlsplit(form.url).query)["next"][0]
        assert html.escape(wanted) in form.text
        keys = {"access_key_id": site.server.access_key_id, "secret_access_key": site.server.secret_access_key}
        page = browser.post(f"{site.server.endpoint}/auth/login", data={**keys, "next": wanted}, timeout=30)
        assert page.url == url
        assert page.status_code == 200
        browser.get(f"{site.server.endpoint}/logout", timeout=30)
        assert "/auth/login" in browser.get(url, timeout=30).url


@pytest.mark.parametrize("other", ['prefs={"a":1}', "k=[1,2]; b=c", "two words; =", "n=\u00e9"])
def test_cookies_of_other_servers_on_this_machine_do_no_harm(site, other):
    cookie = f"{other}; internal_auth_session={site.browser.cookies['internal_auth_session']}; last={other}"
    url = f"{site.server.endpoint}/repositories"
    answer = requests.get(url, headers={"Cookie": cookie.encode()}, allow_redirects=False, timeout=30)
    assert answer.status_code == 200


def test_an_address_that_nothing_has(site):
    """Beside the API's addresses a page answers: lakectl tells a wrong endpoint by it."""
    beside = site.api.get(f"{site.server.endpoint}/api/v11/repositories", timeout=30)
    assert (beside.status_code, beside.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    below = site.api.get(f"{site.server.endpoint}/api/v1", timeout=30)
    assert (below.status_code, below.json()) == (404, {"message": "invalid API endpoint"})
