#!/usr/bin/env python3
"""Makes voicemail.wav: flite's voice `rms` says one sentence; a low-pass and every second sample give a telephone's 8 kHz."""
import array, math, os, subprocess, tempfile, wave

TEXT = "Hello, this is Dana from the harbour office. Please call me back tomorrow at ten."
TAPS = 95  # windowed sinc (Blackman), cut at 3.6 kHz of 16 kHz

here = os.path.dirname(os.path.abspath(__file__))
with tempfile.NamedTemporaryFile(suffix=".wav") as spoken:
    subprocess.run(["flite", "-voice", "rms", "-t", TEXT, "-o", spoken.name], check=True)
    with wave.open(spoken.name) as wav:
        assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16000, 1, 2)
        samples = array.array("h", wav.readframes(wav.getnframes()))

middle, cut = TAPS // 2, 3600 / 16000
taps = []
for n in range(TAPS):
    x = n - middle
    sinc = 2 * cut if x == 0 else math.sin(2 * math.pi * cut * x) / (math.pi * x)
    taps.append(sinc * (0.42 - 0.5 * math.cos(2 * math.pi * n / (TAPS - 1)) + 0.08 * math.cos(4 * math.pi * n / (TAPS - 1))))
gain = sum(taps)
padded = [0] * middle + list(samples) + [0] * middle
out = array.array("h")
for i in range(0, len(samples), 2):
    value = sum(t * s for t, s in zip(taps, padded[i:i + TAPS])) / gain
    out.append(max(-32768, min(32767, round(value))))

with wave.open(os.path.join(here, "voicemail.wav"), "wb") as wav:
    wav.setnchannels(1)
    wav.setsampwidth(2)
    wav.setframerate(8000)
    wav.writeframes(out.tobytes())
