"""Makes tests/io/data/images: small pictures in every form that the readers know, and what Pillow 11.3 makes of them
(from 13 on it resizes columns first where that is faster). usage: make_image_fixtures.py (needs Pillow and numpy)"""
import gzip
import json
import pathlib
import struct
import zlib

import numpy
from PIL import Image

HERE = pathlib.Path(__file__).parent / "images"
HEIGHT, WIDTH = 11, 13
rng = numpy.random.default_rng(7)
y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
smooth = numpy.stack([20 * x, 23 * y, 255 - 9 * (x + y)], -1).clip(0, 255).astype(numpy.uint8)
noise = rng.integers(0, 256, (HEIGHT, WIDTH, 3), numpy.uint8)
expected = {}


def keep(name, pixels):
    pixels = numpy.asarray(pixels)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    expected[name] = {"shape": list(pixels.shape), "pixels": pixels.astype(int).ravel().tolist()}


def save(name, image, **options):
    image.save(HERE / name, **options)
    again = Image.open(HERE / name)
    keep(name, again if again.mode in ("L", "RGB") else again.convert("RGB"))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(name, colour, depth, rows, interlace=0, extra=b""):
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour, 0, 0, interlace)
    body = b"".join(b"\0" + bytes(row) for row in rows)
    (HERE / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b""))


def adam7(pixels):
    for left, top, right, down in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]:
        for row in pixels[top::down]:
            if len(row[left::right]):
                yield row[left::right].tobytes()


save("grey.jpg", Image.fromarray(smooth[..., 0]), quality=90)
save("colour.jpg", Image.fromarray(smooth), quality=90, subsampling=0)
save("subsampled.jpg", Image.fromarray(smooth), quality=80, subsampling=2)
save("progressive.jpg", Image.fromarray(smooth), quality=80, progressive=True)
# Inks whose last is 0: then every rule of conversion gives the same.
save("cmyk.jpg", Image.fromarray(numpy.concatenate([255 - smooth, numpy.zeros_like(smooth[..., :1])], -1), "CMYK"), quality=100)
save("grey.png", Image.fromarray(noise[..., 0]))
save("colour.png", Image.fromarray(noise))
save("palette.png", Image.fromarray(noise).quantize(16))
save("alpha.png", Image.fromarray(numpy.concatenate([noise, noise[..., :1]], -1)))
save("grey_alpha.png", Image.fromarray(noise[..., :2], "LA"))
keep("grey_alpha.png", noise[..., 0])
bits = noise[..., 0] & 1
save("bits.png", Image.fromarray(bits * 255).convert("1", dither=0))
keep("bits.png", bits * 255)
deep = rng.integers(0, 65536, (HEIGHT, WIDTH, 3), numpy.uint16)
rounded = (deep.astype(numpy.uint32) * 255 + 32895 >> 16).astype(numpy.uint8)
png("grey16.png", 0, 16, [row.astype(">u2").tobytes() for row in deep[..., 0]])
keep("grey16.png", rounded[..., 0])
png("colour16.png", 2, 16, [row.astype(">u2").tobytes() for row in deep])
keep("colour16.png", rounded)
png("interlaced.png", 2, 8, adam7(noise), interlace=1)
keep("interlaced.png", noise)

resized = {}
source = Image.fromarray(noise)
for name, size in {"smaller": (5, 4), "larger": (29, 17), "wider": (40, 6), "taller": (7, 30)}.items():
    out = numpy.asarray(source.resize(size, Image.BILINEAR))
    resized[name] = {"shape": list(out.shape), "pixels": out.astype(int).ravel().tolist()}
luma = numpy.asarray(source.convert("L"))
resized["luma"] = {"shape": [*luma.shape, 1], "pixels": luma.astype(int).ravel().tolist()}
(HERE / "expected.json").write_text(json.dumps({"decoded": expected, "from colour.png": resized}) + "\n")


def idx(name, dims, values):
    data = struct.pack(f">I{len(dims)}I", 0x800 + len(dims), *dims) + values
    (HERE / name).write_bytes(gzip.compress(data, mtime=0))


idx("tiny-images-idx3-ubyte.gz", [3, 2, 4], bytes(range(24)))
idx("tiny-labels-idx1-ubyte.gz", [3], bytes([4, 0, 2]))
idx("bomb-images-idx3-ubyte.gz", [3, 2, 4], bytes(1 << 20))
idx("bomb-labels-idx1-ubyte.gz", [3], bytes(3))
