"""Dropbox's own client at work. Reads from stdin where the Dropbox is and who gives tokens; ends badly at the first surprise."""

import datetime
import hashlib
import json
import sys

# The folder of this file has the name of the package that is meant.
sys.path.pop(0)
import dropbox
import requests
from dropbox.exceptions import ApiError, AuthError, RateLimitError
from dropbox.files import CommitInfo, DeletedMetadata, FileMetadata, FolderMetadata, UploadSessionCursor, WriteMode

given = json.load(sys.stdin)


class Elsewhere(requests.adapters.HTTPAdapter):
    """Goes to where the Dropbox is instead of where it always is."""

    def send(self, request, **more):
        where = requests.utils.urlparse(request.url)
        request.url = given["token_url"] if where.path == "/oauth2/token" else given["url"] + where.path
        return super().send(request, **more)


def client(token, **more):
    session = requests.Session()
    session.mount("https://", Elsewhere())
    return dropbox.Dropbox(token, session=session, timeout=60, **more)


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind} was expected")


def content_hash(data):
    blocks = (data[at : at + (4 << 20)] for at in range(0, len(data), 4 << 20))
    return hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()


box = client(given["token"], max_retries_on_error=0, max_retries_on_rate_limit=0)

# A folder, an upload in one request; the same again is no conflict, another is.
made = box.files_create_folder_v2("/Recordings").metadata
assert isinstance(made, FolderMetadata) and made.path_display == "/Recordings", made
error = refused(ApiError, lambda: box.files_create_folder_v2("/Recordings")).error
assert error.get_path().get_conflict().is_folder(), error
path, small = "/Recordings/2026/It's über.wav", b"RIFF" + bytes(range(256))
stored = box.files_upload(small, path, mode=WriteMode.add, content_hash=content_hash(small))
assert (stored.path_display, stored.size, stored.content_hash) == (path, len(small), content_hash(small)), stored
again = box.files_upload(small, path, mode=WriteMode.add)
assert (again.id, again.rev) == (stored.id, stored.rev)
error = refused(ApiError, lambda: box.files_upload(b"other", path, mode=WriteMode.add)).error
assert error.is_path() and error.get_path().reason.get_conflict().is_file(), error
error = refused(ApiError, lambda: box.files_upload(b"x", "/x", content_hash="0" * 64)).error
assert error.is_content_hash_mismatch(), error
other = box.files_upload(b"new", path, mode=WriteMode.overwrite)
assert other.id == stored.id and other.rev != stored.rev
# A revision that is no more takes no other with it.
error = refused(ApiError, lambda: box.files_delete_v2(path, parent_rev=stored.rev)).error
assert error.get_path_write().get_conflict().is_file(), error
assert box.files_delete_v2(path, parent_rev=other.rev).metadata.rev == other.rev
box.files_upload(b"new", path)

# A large one in a session, which says where it is when it is asked wrongly.
large, piece = hashlib.sha256(b"seed").digest() * (9 << 15), 4 << 20
session = box.files_upload_session_start(large[:piece]).session_id
cursor = UploadSessionCursor(session, 2 * piece)
error = refused(ApiError, lambda: box.files_upload_session_append_v2(large[:9], cursor)).error
assert error.is_incorrect_offset() and error.get_incorrect_offset().correct_offset == piece, error
cursor.offset = piece
box.files_upload_session_append_v2(large[piece : 2 * piece], cursor)
commit = CommitInfo("/Recordings/large.wav", mode=WriteMode.add)
error = refused(ApiError, lambda: box.files_upload_session_finish(b"", cursor, commit)).error
assert error.get_lookup_failed().get_incorrect_offset().correct_offset == 2 * piece, error
cursor.offset = 2 * piece
stored = box.files_upload_session_finish(large[2 * piece :], cursor, commit)
assert (stored.size, stored.content_hash) == (len(large), content_hash(large)), stored
error = refused(ApiError, lambda: box.files_upload_session_append_v2(b"", cursor)).error
assert error.is_not_found(), error
session = box.files_upload_session_start(b"other").session_id
error = refused(ApiError, lambda: box.files_upload_session_finish(b"", UploadSessionCursor(session, 5), commit)).error
assert error.get_path().get_conflict().is_file(), error

# Read back: whole, and in part; by path and by id.
found, answer = box.files_download(stored.id)
assert found == stored and answer.content == large
_, answer = client(given["token"], headers={"Range": "bytes=5-1004"}).files_download("/recordings/LARGE.wav")
assert answer.status_code == 206 and answer.content == large[5:1005], answer
assert box.files_get_metadata(stored.id).path_lower == "/recordings/large.wav"

# What lies in a folder, page by page; in the folders of it too.
assert {type(entry) for entry in box.files_list_folder("").entries} == {FolderMetadata}
for n in range(5):
    box.files_upload(b"%d" % n, f"/Recordings/n{n}.wav")
page = box.files_list_folder("/Recordings", recursive=True, limit=3)
listed = page.entries
while page.has_more:
    assert len(page.entries) == 3
    page = box.files_list_folder_continue(page.cursor)
    listed += page.entries
wanted = {"/recordings", "/recordings/2026", path.lower(), "/recordings/large.wav"}
assert {entry.path_lower for entry in listed} == wanted | {f"/recordings/n{n}.wav" for n in range(5)}, listed
direct = {entry.path_lower for entry in box.files_list_folder("/Recordings").entries}
assert path.lower() not in direct and "/recordings/2026" in direct, direct
error = refused(ApiError, lambda: box.files_list_folder("/Nothing")).error
assert error.get_path().is_not_found(), error

# Gone, and the feed tells it.
assert box.files_list_folder_continue(page.cursor).entries == []
gone = box.files_delete_v2("/Recordings/n0.wav").metadata
assert isinstance(gone, FileMetadata) and gone.name == "n0.wav", gone
box.files_upload(b"late", "/Recordings/late.wav")
box.files_upload(b"beside", "/beside.wav")
changed = box.files_list_folder_continue(page.cursor).entries
assert [(type(entry), entry.path_lower) for entry in changed] == [
    (DeletedMetadata, "/recordings/n0.wav"),
    (FileMetadata, "/recordings/late.wav"),
], changed
for call in (
    lambda: box.files_get_metadata("/Recordings/n0.wav"),
    lambda: box.files_download("/Recordings/n0.wav"),
):
    assert refused(ApiError, call).error.get_path().is_not_found()
error = refused(ApiError, lambda: box.files_delete_v2("/Recordings/n0.wav")).error
assert error.get_path_lookup().is_not_found(), error

# Too fast: told how long, or the client waits and comes again.
impatient = client(given["token"], user_agent="impatient", max_retries_on_rate_limit=0)
error = refused(RateLimitError, lambda: impatient.files_get_metadata("/beside.wav"))
assert error.backoff == 1 and error.error.reason.is_too_many_requests(), error
patient = client(given["token"], user_agent="patient")
assert patient.files_get_metadata("/Recordings/late.wav").size == 4

# A token that has ended: refused, and renewed by who has a consent.
error = refused(AuthError, lambda: client(given["expired"]).files_list_folder("")).error
assert error.is_expired_access_token(), error
hour = datetime.datetime.utcnow() + datetime.timedelta(hours=1)
renewing = client(
    given["expired"],
    oauth2_access_token_expiration=hour,
    oauth2_refresh_token=given["refresh"],
    app_key=given["client_id"],
    app_secret=given["client_secret"],
)
assert renewing.files_get_metadata("/beside.wav").size == 6
print("content")
