"""Google's own client for Drive at work. Reads from stdin where the drive is and who gives tokens; ends badly at the first surprise."""

import hashlib
import io
import json
import pathlib
import sys

import googleapiclient
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

given = json.load(sys.stdin)


def client(token, **more):
    """The client, made of Google's own description of its service, at another address."""
    folder = pathlib.Path(googleapiclient.__file__).parent
    described = json.loads((folder / "discovery_cache/documents/drive.v3.json").read_text())
    described["rootUrl"] = given["url"] + "/"
    described["baseUrl"] = given["url"] + "/drive/v3/"
    return build_from_document(described, credentials=Credentials(token, **more))


def refused(status, reason, call):
    """The call is refused like this."""
    try:
        call()
    except HttpError as error:
        assert error.resp.status == status, error
        assert not reason or error.error_details[0]["reason"] == reason, error.error_details
        return error
    raise AssertionError(f"{status} {reason} was expected")


def media(data, kind="audio/wav", **more):
    return MediaIoBaseUpload(io.BytesIO(data), kind, **more)


drive = client(given["token"])
files = drive.files()
begin = drive.changes().getStartPageToken().execute()["startPageToken"]

# Ids beforehand, a folder, an upload in one request; an id is taken once.
ids = files.generateIds(count=3, space="drive").execute()["ids"]
assert len(set(ids)) == 3, ids
folder = files.create(body={"name": "Recordings", "mimeType": "application/vnd.google-apps.folder"}).execute()
assert set(folder) == {"kind", "id", "name", "mimeType"}, folder
name = "It's über \\ call.wav"
small = b"RIFF" + bytes(range(256)) * 4
about = {"id": ids[0], "name": name, "parents": [folder["id"]]}
fields = "id,name,size,mimeType,parents,sha256Checksum,md5Checksum"
made = files.create(body=about, media_body=media(small), fields=fields).execute()
assert made == {
    "id": ids[0],
    "name": name,
    "size": str(len(small)),
    "mimeType": "audio/wav",
    "parents": [folder["id"]],
    "sha256Checksum": hashlib.sha256(small).hexdigest(),
    "md5Checksum": hashlib.md5(small).hexdigest(),
}, made
refused(409, "fileIdInUse", files.create(body=about, media_body=media(small)).execute)
refused(404, "notFound", files.create(body={"name": "x", "parents": ["nobody"]}, media_body=media(b"x")).execute)
refused(400, None, files.create(body={"id": "made-up", "name": "x"}, media_body=media(b"x")).execute)

# A large one in pieces; the second piece meets a 503, and the client asks how far it is before it goes on.
large = hashlib.sha256(b"seed").digest() * (5 << 15)
request = files.create(
    body={"id": ids[1], "name": "large.wav", "parents": [folder["id"]]},
    media_body=media(large, chunksize=2 << 20, resumable=True),
    fields="id,sha256Checksum,mimeType",
)
reached, done = [request.next_chunk()[0].resumable_progress], None
refused(503, None, request.next_chunk)
while done is None:
    status, done = request.next_chunk()
    reached += [status.resumable_progress] if status else []
assert reached == [2 << 20, 4 << 20], reached
assert done == {"id": ids[1], "sha256Checksum": hashlib.sha256(large).hexdigest(), "mimeType": "audio/wav"}, done

# Download in ranges.
got = io.BytesIO()
download = MediaIoBaseDownload(got, files.get_media(fileId=ids[1]), chunksize=1_500_000)
finished, steps = False, 0
while not finished:
    progress, finished = download.next_chunk()
    steps += 1
    assert progress.total_size == len(large)
assert got.getvalue() == large and steps == 4, steps

# Search by name and parent, page by page.
for n in range(5):
    files.create(body={"name": f"n{n}.wav", "parents": [folder["id"]]}, media_body=media(b"%d" % n)).execute()
quoted = name.replace("\\", "\\\\").replace("'", "\\'")
found = files.list(q=f"'{folder['id']}' in parents and name = '{quoted}' and trashed = false").execute()["files"]
assert [file["id"] for file in found] == [ids[0]], found
names, request = [], files.list(q=f"'{folder['id']}' in parents", pageSize=3, fields="nextPageToken,files(name)")
while request is not None:
    page = request.execute()
    assert all(set(file) == {"name"} for file in page["files"]), page
    names += [file["name"] for file in page["files"]]
    request = files.list_next(request, page)
assert sorted(names) == sorted([name, "large.wav"] + [f"n{n}.wav" for n in range(5)]), names

# New bytes, the trash, and gone for good.
changed = files.update(fileId=ids[0], media_body=media(b"new"), fields="md5Checksum,version").execute()
assert changed["md5Checksum"] == hashlib.md5(b"new").hexdigest() and int(changed["version"]) > 1, changed
files.update(fileId=ids[0], body={"trashed": True}).execute()
assert files.list(q=f"name = '{quoted}' and trashed = false").execute()["files"] == []
assert files.delete(fileId=ids[0]).execute() == ""
refused(404, "notFound", files.get(fileId=ids[0]).execute)
refused(404, "notFound", files.delete(fileId=ids[0]).execute)

# The feed of all that, page by page.
feed, request = [], drive.changes().list(pageToken=begin, pageSize=2, fields="*")
while request is not None:
    page = request.execute()
    feed += page["changes"]
    request = drive.changes().list_next(request, page)
end = page["newStartPageToken"]
last = {change["fileId"]: change for change in feed}
assert last[ids[0]]["removed"] and "file" not in last[ids[0]], last[ids[0]]
assert not last[ids[1]]["removed"] and last[ids[1]]["file"]["name"] == "large.wav", last[ids[1]]
assert drive.changes().list(pageToken=end).execute()["changes"] == []

# Too fast: the client waits and comes again; or is told how long.
assert files.get(fileId=ids[1], quotaUser="patient").execute(num_retries=2)["name"] == "large.wav"
error = refused(429, "rateLimitExceeded", files.get(fileId=ids[1], quotaUser="impatient").execute)
assert error.resp["retry-after"] == "7", error.resp

# A token that has ended: refused, and renewed by who has a consent.
try:
    client(given["expired"]).files().get(fileId=ids[1]).execute()
    raise AssertionError("an ended token was let in")
except RefreshError:
    pass
renewing = client(
    given["expired"],
    refresh_token=given["refresh"],
    token_uri=given["token_url"],
    client_id=given["client_id"],
    client_secret=given["client_secret"],
)
assert renewing.files().get(fileId=ids[1]).execute()["name"] == "large.wav"
print("content")
