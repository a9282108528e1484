"""Dropbox's own client puts the files of a folder there, several at once. Reads from stdin what is to go where; says how many seconds it took."""

import hashlib
import json
import pathlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import dropbox
import requests
from dropbox.files import WriteMode

BLOCK = 4 << 20

given = json.load(sys.stdin)
own = threading.local()


class Elsewhere(requests.adapters.HTTPAdapter):
    """Goes to where the Dropbox is instead of where it always is."""

    def send(self, request, **more):
        request.url = given["url"] + requests.utils.urlparse(request.url).path
        return super().send(request, **more)


def box():
    """One for each thread."""
    if not hasattr(own, "box"):
        session = requests.Session()
        session.mount("https://", Elsewhere())
        own.box = dropbox.Dropbox(given["token"], session=session, timeout=60)
    return own.box


def content_hash(data):
    """Dropbox's digest, as its documentation defines it."""
    view = memoryview(data)
    blocks = (view[at : at + BLOCK] for at in range(0, len(view), BLOCK))
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


def put(path):
    data = path.read_bytes()
    # One request is good for 150 MB.
    stored = box().files_upload(data, f"/{given['to']}/{path.name}", mode=WriteMode.add)
    assert (stored.size, stored.content_hash) == (len(data), content_hash(data)), stored


sources = sorted(pathlib.Path(given["from"]).iterdir())
began = time.monotonic()
with ThreadPoolExecutor(given["lanes"]) as lanes:
    list(lanes.map(put, sources))
print(time.monotonic() - began)
