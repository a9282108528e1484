#!/usr/bin/env python3
"""Makes the fixtures of tests/opus.rs with the original: libopus by ctypes (Debian: libopus0), sox for the rate.

Each NAME.packets is a list of packets, each with its length before it (16 bits, little endian); NAME.pcm is what libopus decodes of
them at 16 kHz mono. One second of testkit's voicemail; `lost` is `fec` with every fifth packet lost, as libopus recovers it.
"""

import ctypes
import pathlib
import struct
import subprocess

HERE = pathlib.Path(__file__).parent
SPEECH = HERE / "../../../testkit/assets/voicemail.wav"
VOIP, AUDIO = 2048, 2049

opus = ctypes.CDLL("libopus.so.0")
opus.opus_encoder_create.restype = ctypes.c_void_p
opus.opus_decoder_create.restype = ctypes.c_void_p


class Decoder:
    def __init__(self):
        self.state = ctypes.c_void_p(opus.opus_decoder_create(16000, 1, ctypes.byref(ctypes.c_int())))
        self.out = ctypes.create_string_buffer(2 * 1920)

    def decode(self, packet, samples=1920, fec=0):
        made = opus.opus_decode(self.state, packet, len(packet), self.out, samples, fec)
        assert made > 0, made
        return self.out.raw[: 2 * made]


def encode(application, bitrate, frame=960, channels=1, fec=0):
    sox = ["sox", SPEECH, "-t", "raw", "-r", "48000", "-c", str(channels), "-", "trim", "0.3", "1"]
    pcm = subprocess.run(sox, check=True, capture_output=True).stdout
    state = ctypes.c_void_p(opus.opus_encoder_create(48000, channels, application, ctypes.byref(ctypes.c_int())))
    for request, value in (4002, bitrate), (4012, fec), (4014, 20 * fec):
        opus.opus_encoder_ctl(state, request, ctypes.c_int(value))
    out, step = ctypes.create_string_buffer(4000), frame * 2 * channels
    for start in range(0, len(pcm) - step + 1, step):
        length = opus.opus_encode(state, pcm[start : start + step], frame, out, 4000)
        assert length > 0, length
        yield out.raw[:length]


def write(name, packets, pcm):
    (HERE / f"{name}.packets").write_bytes(b"".join(struct.pack("<H", len(packet)) + packet for packet in packets))
    (HERE / f"{name}.pcm").write_bytes(pcm)


for name, arguments in {
    "silk": (VOIP, 16000),
    "hybrid": (VOIP, 40000),
    "celt": (AUDIO, 64000, 480),
    "stereo": (VOIP, 32000, 960, 2),
    "long": (VOIP, 16000, 2880),
    "fec": (VOIP, 32000, 960, 1, 1),
}.items():
    packets, decoder = list(encode(*arguments)), Decoder()
    write(name, packets, b"".join(decoder.decode(packet) for packet in packets))
    if name == "fec":
        decoder, pcm = Decoder(), b""
        for at, packet in enumerate(packets):
            if at % 5 != 3:
                pcm += decoder.decode(packet, 320, 1) if at % 5 == 4 else b""
                pcm += decoder.decode(packet)
        write("lost", [packet if at % 5 != 3 else b"" for at, packet in enumerate(packets)], pcm)
