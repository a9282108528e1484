#!/usr/bin/env python3
"""Makes the prompts: flite's voice `slt` says a sentence; a low-pass and every second sample give a telephone's 8 kHz, and μ-law its size."""
import array, math, os, struct, subprocess, tempfile, wave

PROMPTS = {"leave-a-message.wav": "Please leave a message after the tone."}
TAPS = 95  # windowed sinc (Blackman), cut at 3.6 kHz of 16 kHz
PEAK = 0.5  # of full scale

here = os.path.dirname(os.path.abspath(__file__))
middle, cut = TAPS // 2, 3600 / 16000


def spoken(text):
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", file.name], check=True)
        with wave.open(file.name) as wav:
            assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16000, 1, 2)
            return array.array("h", wav.readframes(wav.getnframes()))


def taps():
    for n in range(TAPS):
        x = n - middle
        sinc = 2 * cut if x == 0 else math.sin(2 * math.pi * cut * x) / (math.pi * x)
        yield sinc * (0.42 - 0.5 * math.cos(2 * math.pi * n / (TAPS - 1)) + 0.08 * math.cos(4 * math.pi * n / (TAPS - 1)))


def halved(samples):
    filter = list(taps())
    gain = sum(filter)
    padded = [0] * middle + list(samples) + [0] * middle
    out = [sum(t * s for t, s in zip(filter, padded[i:i + TAPS])) / gain for i in range(0, len(samples), 2)]
    loudest = max(abs(value) for value in out)
    return [round(value * PEAK * 32767 / loudest) for value in out]


def ulaw(sample):
    sign, magnitude = (0x80, -sample) if sample < 0 else (0, sample)
    magnitude = min(magnitude, 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> (exponent + 3)) & 0x0F) & 0xFF


for name, text in PROMPTS.items():
    data = bytes(ulaw(sample) for sample in halved(spoken(text)))
    data += b"\xff" * (-len(data) % 160)
    format = struct.pack("<HHIIHHH", 7, 1, 8000, 8000, 1, 8, 0)
    chunks = b"WAVEfmt " + struct.pack("<I", len(format)) + format + b"data" + struct.pack("<I", len(data)) + data
    with open(os.path.join(here, name), "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
