"""Google's own client puts the files of a folder into a drive, several at once. Reads from stdin what is to go where; says how many seconds it took."""

import json
import pathlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import googleapiclient
import httplib2
from google.oauth2.credentials import Credentials
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient.discovery import build_from_document
from googleapiclient.http import MediaFileUpload

# What Google's documentation wants in one request.
SMALL = 5 << 20

given = json.load(sys.stdin)
described = json.loads(
    (pathlib.Path(googleapiclient.__file__).parent / "discovery_cache/documents/drive.v3.json").read_text()
)
described["rootUrl"] = given["url"] + "/"
described["baseUrl"] = given["url"] + "/drive/v3/"
credentials = Credentials(given["token"])
files = build_from_document(described, credentials=credentials).files()
own = threading.local()


def connection():
    """One for each thread, since they may not be shared."""
    if not hasattr(own, "http"):
        own.http = AuthorizedHttp(credentials, http=httplib2.Http())
    return own.http


def put(path, folder):
    size = path.stat().st_size
    media = MediaFileUpload(str(path), "audio/wav", resumable=size > SMALL)
    about = {"name": path.name, "parents": [folder]}
    made = files.create(body=about, media_body=media, fields="id,size").execute(http=connection())
    assert int(made["size"]) == size, made


sources = sorted(pathlib.Path(given["from"]).iterdir())
began = time.monotonic()
folder = files.create(body={"name": given["to"], "mimeType": "application/vnd.google-apps.folder"}).execute()
with ThreadPoolExecutor(given["lanes"]) as lanes:
    list(lanes.map(lambda path: put(path, folder["id"]), sources))
print(time.monotonic() - began)
