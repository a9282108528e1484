"""An FTP server of pyftpdlib for tests: FOLDER MODE USER PASSWORD; MODE is none, explicit or implicit.

It says its port and its certificate's SHA-256 on stdout. A file `trouble` in the folder says what happens to uploads.
"""

import os
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import DTPHandler, FTPHandler, TLS_DTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

folder, mode, user, password = sys.argv[1:]
files, void = os.path.join(folder, "files"), os.path.join(folder, "void")
answers = {
    "busy": "450 The file is in use.",
    "full": "552 Quota exceeded.",
    "broken": "451 Local error in processing.",
}


def trouble():
    try:
        with open(os.path.join(folder, "trouble")) as word:
            return word.read()
    except FileNotFoundError:
        return ""


def certificate():
    from OpenSSL import crypto

    key = crypto.PKey()
    key.generate_key(crypto.TYPE_RSA, 2048)
    cert = crypto.X509()
    cert.set_version(2)
    cert.get_subject().CN = "ftp.test"
    cert.set_issuer(cert.get_subject())
    cert.gmtime_adj_notBefore(-3600)
    cert.gmtime_adj_notAfter(86400)
    cert.set_pubkey(key)
    cert.sign(key, "sha256")
    path = os.path.join(folder, "certificate.pem")
    with open(path, "wb") as pem:
        pem.write(crypto.dump_privatekey(crypto.FILETYPE_PEM, key) + crypto.dump_certificate(crypto.FILETYPE_PEM, cert))
    return path, cert.digest("sha256").decode()


class Cut:
    """A data connection that ends in the middle, the other one with it."""

    def handle_read_event(self):
        super().handle_read_event()
        if trouble() == "cut" and self.tot_bytes_received > 100_000:
            channel = self.cmd_channel
            self.close()
            channel.close()


class Troubled:
    def ftp_STOR(self, file, mode="w"):
        word = trouble()
        if word in answers:
            self.respond(answers[word])
        elif word == "silent":
            return None
        else:
            return super().ftp_STOR(void if word == "swallowed" else file, mode)

    def on_file_received(self, file):
        if trouble() == "changed":
            with open(file, "r+b") as changed:
                first = changed.read(1)
                changed.seek(0)
                changed.write(bytes([first[0] ^ 0xFF]))


class Plain(Troubled, FTPHandler):
    dtp_handler = type("PlainData", (Cut, DTPHandler), {})


class Explicit(Troubled, TLS_FTPHandler):
    dtp_handler = type("SafeData", (Cut, TLS_DTPHandler), {})
    tls_control_required = True
    tls_data_required = True


class Implicit(Explicit):
    def handle(self):
        self.secure_connection(self.ssl_context)

    def handle_ssl_established(self):
        TLS_FTPHandler.handle(self)


handler = {"none": Plain, "explicit": Explicit, "implicit": Implicit}[mode]
digest = ""
if mode != "none":
    handler.certfile, digest = certificate()
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, files, perm="elradfmwMT")
handler.authorizer = authorizer
server = FTPServer(("127.0.0.1", 0), handler)
print(server.address[1], digest, flush=True)
server.serve_forever()
