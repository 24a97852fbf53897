"""The applications in examples/ run as they are, with real packages, and go on when a node dies."""

import os
import re
import shutil
import subprocess

import pytest
from cluster_tools import wait_for_new_owner
from support.clip import make_clip
from support.node import CommandFailed, until
from support.rootfs import TOP, let_root_run_vlc
from support.rtsp import RtspClient

EXAMPLES = os.path.join(TOP, "examples")
BUILD = os.environ.get("PERDURE_BUILD", os.path.join(TOP, "build", "dev"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The environment in which images are found. The nodes of a lab reach nothing but each other, so that they are built before; in no
    test's time."""
    return {**os.environ, "PERDURE_CACHE": str(tmp_path_factory.mktemp("cache"))}


def build_images(path, cache):
    built = subprocess.run([os.path.join(BUILD, "src/cli/perdure"), "image", "build", path], env=cache,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=900)
    assert built.returncode == 0, built.stderr
    return path


@pytest.fixture(scope="module")
def pair(cache, tmp_path_factory):
    return build_images(adapted(f"{EXAMPLES}/pair/pair.yaml", tmp_path_factory.mktemp("pair")), cache)


@pytest.fixture(scope="module")
def web_shop(cache, tmp_path_factory):
    """From its Compose file; that it is the same as web-shop.yaml is a unit test's."""
    return build_images(adapted(f"{EXAMPLES}/web-shop/compose.yaml", tmp_path_factory.mktemp("web-shop")), cache)


@pytest.fixture(scope="module")
def streaming(cache, tmp_path_factory):
    """As root: for another user CRIU needs CAP_SYS_RESOURCE, which may be missing here."""
    directory = tmp_path_factory.mktemp("streaming")
    path = adapted(f"{EXAMPLES}/streaming/streaming.yaml", directory)
    shutil.copy("/usr/bin/vlc", directory / "vlc")
    let_root_run_vlc(directory / "vlc")
    (directory / "media").mkdir()
    shutil.copy(os.path.join(make_clip(), "clip.ts"), directory / "media/film.ts")
    with open(path) as file:
        text = file.read().replace("/srv/media", str(directory / "media")).replace('    user: "65534:65534"\n', "")
    with open(path, "w") as file:
        file.write(text.replace("      files:\n", f"      files:\n        - {{from: {directory}/vlc, to: /usr/bin/vlc}}\n"))
    return build_images(path, cache)


def adapted(path, directory):
    """With addresses of the lab's LAN."""
    with open(path) as file:
        text = re.sub(r"192\.0\.2\.(\d)", r"10.78.0.\g<1>", file.read())
    text = re.sub(r"from: (\w)", rf"from: {os.path.dirname(path)}/\1", text)
    text = re.sub(r"- \./(\w)", rf"- {os.path.dirname(path)}/\1", text)
    copy = os.path.join(directory, os.path.basename(path))
    with open(copy, "w") as file:
        file.write(text)
    return copy


def apply(cluster, path, cache):
    applied = cluster.nodes[1].try_cli("apply", path, "--yes", env=cache)
    assert applied.returncode == 0, applied.stdout + applied.stderr
    with open(path) as file:
        application = re.search(r"^(application|name): (\S+)", file.read(), re.MULTILINE)[2]
    return {row["name"]: row for row in cluster.nodes[1].ask("list")["containers"] if row["application"] == application}


def address_of(row):
    return row["addresses"][0].split("/")[0]


def test_the_two_components_of_the_paper(cluster, cache, pair):
    rows = apply(cluster, pair, cache)
    client = cluster.client()
    lines = client.lines(address_of(rows["pair-comp-a"]), 8080)
    assert [lines.ask("next") for _ in range(3)] == [f"comp-b counts {number}" for number in (1, 2, 3)]
    cluster.nodes[1].container("pair-comp-b").checkpoint()
    owner = int(rows["pair-comp-b"]["node"].removeprefix("node"))
    cluster.nodes[owner].kill()
    left = next(node for number, node in cluster.nodes.items() if number != owner)

    def taken_over():
        try:
            return left.ask("inspect", "pair-comp-b")["container"]["node"] != f"node{owner}"
        except CommandFailed:  # the node that it was passed on to has just died
            return False
    until(taken_over, "nobody takes comp-b over")

    def counts():
        try:
            answer = client.lines(address_of(rows["pair-comp-a"]), 8080).ask("next")
        except OSError:
            return None
        return answer if answer and answer.startswith("comp-b counts") else None
    assert until(counts, "comp-b does not count again") == "comp-b counts 4"


def http(client, address, method, path):
    """(status, body), or None: no answer."""
    try:
        with client.connect(address, 80) as connection:
            connection.sendall(f"{method} {path} HTTP/1.0\r\nHost: shop\r\nContent-Length: 0\r\n\r\n".encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
    except OSError:
        return None
    head, _, body = answer.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_the_web_shop_keeps_its_carts(cluster, cache, web_shop):
    rows = apply(cluster, web_shop, cache)
    assert set(rows) == {"web-shop-front", "web-shop-app-1", "web-shop-app-2", "web-shop-redis"}
    assert rows["web-shop-app-1"]["node"] != rows["web-shop-app-2"]["node"]
    client = cluster.client()
    front = address_of(rows["web-shop-front"])
    assert http(client, front, "POST", "/cart/apples") == (200, "1\n")
    assert http(client, front, "POST", "/cart/pears") == (200, "2\n")
    assert http(client, front, "GET", "/cart") == (200, "apples\npears\n")
    cluster.nodes[1].container("web-shop-redis").checkpoint()
    owner = int(rows["web-shop-redis"]["node"].removeprefix("node"))
    cluster.nodes[owner].kill()
    until(lambda: http(client, front, "GET", "/cart") == (200, "apples\npears\n"), "the cart is gone", deadline=90)
    assert http(client, front, "POST", "/cart/plums") == (200, "3\n")


def test_a_film_goes_on(cluster, cache, streaming):
    rows = apply(cluster, streaming, cache)
    viewer = RtspClient(cluster.client(), address_of(rows["streaming-vlc"]), path="film").play()
    viewer.wait_for_packets(50)
    cluster.nodes[1].container("streaming-vlc").checkpoint()
    owner = cluster.nodes[int(rows["streaming-vlc"]["node"].removeprefix("node"))]
    owner.kill()
    wait_for_new_owner(cluster, "streaming-vlc", owner)
    viewer.wait_for_packets(200)
    assert viewer.control_resets == 0
