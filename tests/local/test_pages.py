"""The pages of the embedded server, over HTTP."""

import re

import pytest
import requests

from lakefs_ops.local import LocalLakeFS
from lakefs_ops.local.sample import _png
from lakefs_ops.uri import Links

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
LAKE = "pages"


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


def test_previews(site):
    assert "<td>&lt;i&gt;2&lt;/i&gt;</td>" in site.get("objects", path="table.csv").text
    assert "<img" in site.get("objects", path="picture.png").text
    assert "it is not text" in site.get("objects", path="bytes.bin").text
    assert site.get("raw", path="picture.png").headers["Content-Type"] == "image/png"
    raw = site.get("raw", path=f"evil/{HOSTILE}.html")
    assert raw.headers["Content-Type"] == "application/octet-stream"
    assert raw.headers["Content-Disposition"] == "attachment"


def test_the_graph_has_a_node_for_each_commit(site):
    commits = site.call("GET", f"/{LAKE}/refs/main/commits").json()["results"]
    assert site.get("commits", ref="main").text.count("<circle") == len(commits) == 5


def test_buttons_and_conflicts(site):
    page = site.get(f"commits/{site.evil}").text
    assert 'href="http://airflow/log"' in page
    assert "Open Airflow UI" in page
    assert 'href="javascript' not in page
    assert 'class="change conflict"' in site.get("compare", ref="main", compare="dev").text


def test_what_is_not_there(site):
    assert site.get("objects", path="none").status_code == 404
    assert site.get("nothing").status_code == 404
