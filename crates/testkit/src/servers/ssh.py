"""SFTP with a trouble, between OpenSSH's sshd and its file server: FOLDER SERVER [ARGUMENT...].

Everything is passed on but what a client writes, while a file `trouble` in the folder says what happens to it.
"""

import os
import struct
import subprocess
import sys
import threading

folder, *server = sys.argv[1:]
WRITE, STATUS = 6, 101
real = subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
answering = threading.Lock()


def trouble():
    try:
        with open(os.path.join(folder, "trouble")) as word:
            return word.read()
    except FileNotFoundError:
        return ""


def packets(stream):
    while len(length := stream.read(4)) == 4:
        yield stream.read(struct.unpack(">I", length)[0])


def send(stream, packet):
    stream.write(struct.pack(">I", len(packet)) + packet)
    stream.flush()


def answer(packet):
    with answering:
        send(sys.stdout.buffer, packet)


def pass_answers():
    for packet in packets(real.stdout):
        answer(packet)


threading.Thread(target=pass_answers, daemon=True).start()
for packet in packets(sys.stdin.buffer):
    word = trouble() if packet[0] == WRITE else ""
    if word == "swallowed":
        # That it was written, without words.
        answer(bytes([STATUS]) + packet[1:5] + bytes(12))
    elif word == "changed":
        send(real.stdin, packet[:-1] + bytes([packet[-1] ^ 1]))
    else:
        send(real.stdin, packet)
real.stdin.close()
real.wait()
