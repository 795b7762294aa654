"""Every kind of picture comes out upright, RGB and 8 bit; everything else is refused in one line."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fer.data.images import FORMATS, BadImage, decode, luminance
from fer.errors import FerError


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG whose header promises `width` x `height` pixels and whose data holds none."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def photo() -> Image.Image:
    """48 x 32, red on its left, blue on its right, noise in green."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:, :24, 0] = pixels[:, 24:, 2] = 200
    pixels[..., 1] = np.random.default_rng(0).integers(0, 60, (32, 48))
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", [f for f in FORMATS if f not in ("JPEG", "GIF")])
def test_lossless_formats_give_the_exact_pixels(photo: Image.Image, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encoded(photo, kind, **options))
    assert decoded.dtype == np.uint8 and decoded.flags.writeable
    np.testing.assert_array_equal(decoded, np.array(photo))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("RGB", "JPEG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("P", "PNG"), ("P", "GIF"), ("YCbCr", "JPEG")],
)
def test_other_colour_modes_keep_their_colours(photo: Image.Image, mode: str, kind: str) -> None:
    decoded = decode(encoded(photo.convert(mode), kind)).astype(int)
    assert decoded.shape == (32, 48, 3)
    assert abs(decoded[:, 4:20].mean((0, 1)) - [200, 30, 0]).max() < 25
    assert abs(decoded[:, 28:44].mean((0, 1)) - [0, 30, 200]).max() < 25


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_becomes_three_equal_channels(photo: Image.Image, mode: str) -> None:
    grey = photo.convert(mode)
    decoded = decode(encoded(grey))
    np.testing.assert_array_equal(decoded, np.repeat(np.array(grey.convert("L"))[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_by_the_full_range_not_clipped(kind: str) -> None:
    values = np.array([[0, 128, 257, 300, 32768, 65535]], np.uint16)
    decoded = decode(encoded(Image.fromarray(values), kind))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 0, 1, 1, 128, 255])
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_transparent_parts_show_mid_grey(mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, 2, 4))
    decoded = decode(encoded(image.convert(mode)))
    assert (decoded[:, :2] == 255).all() and (decoded[:, 2:] == 128).all()


def test_transparent_palette_colour_shows_mid_grey() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 250, 10, 10])
    image.putpixel((0, 0), 0)
    decoded = decode(encoded(image, transparency=0))
    assert decoded[0, 0].tolist() == [128, 128, 128] and decoded[1, 1].tolist() == [250, 10, 10]


def test_transparent_value_of_sixteen_bits_shows_mid_grey() -> None:
    values = np.array([[257, 65535], [514, 257]], np.uint16)
    decoded = decode(encoded(Image.fromarray(values), transparency=257))
    assert decoded[..., 0].tolist() == [[128, 255], [2, 128]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_exif_rotated_pictures_come_out_upright(photo: Image.Image, orientation: int, kind: str) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = photo.transpose(undo[orientation]) if orientation > 1 else photo
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode(encoded(stored, kind, exif=exif)), np.array(photo))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadImage, match="not a file"):
        decode(tmp_path / "a.png")


def test_sixteen_bit_picture_is_turned_too() -> None:
    values = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10000
    exif = Image.Exif()
    exif[0x0112] = 3
    assert decode(encoded(Image.fromarray(values), exif=exif))[0, 0, 0] == round(50000 / 257)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    data = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert (decode(data) == [255, 0, 0]).all()


def test_sources_give_equal_pixels(photo: Image.Image, tmp_path: Path) -> None:
    path = tmp_path / "photo.wrong-ending"
    path.write_bytes(encoded(photo))
    with path.open("rb") as stream:
        for source in (path, path.read_bytes(), stream):
            np.testing.assert_array_equal(decode(source), np.array(photo))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_truncated_file_is_an_error_that_names_it(photo: Image.Image, kind: str, tmp_path: Path) -> None:
    data = encoded(photo.resize((300, 200)), kind)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadImage, match=r"half\.jpg: ") as caught:
        decode(path)
    assert isinstance(caught.value, FerError) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"subject,emotion\nS005,anger\n", "not an image of a format"),
        (b"", "not an image of a format"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a format"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), "floating-point"),
        (encoded(Image.fromarray(np.full((2, 2), 70000, np.int32)), "TIFF"), "32-bit"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "note.png"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=rf"note\.png: {reason}"):
        decode(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"none\.png: no such file"):
        decode(tmp_path / "none.png")
    with pytest.raises(BadImage, match="is a directory"):
        decode(tmp_path)


@pytest.mark.parametrize(
    ("width", "height"), [(8_001, 8_001), (10_000, 10_000), (60_000, 60_000), (1, 32_768), (64_000, 1)]
)
def test_bomb_is_refused_by_its_header(width: int, height: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("pixels were decoded"))
    with pytest.raises(BadImage, match="pixels"):
        decode(png(width, height))


def test_a_tile_larger_than_its_picture_counts(photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    about = ImageFileDirectory_v2()
    for own in (65_322, 65_323):  # Pillow writes none of the tags of tiles
        about.tagtype[own], about[own] = 4, 26_000
    bomb = encoded(photo, "TIFF", tiffinfo=about)
    assert decode(bomb).shape == (32, 48, 3)
    for own, tag in ((65_322, 322), (65_323, 323)):
        bomb = bomb.replace(struct.pack("<HH", own, 4), struct.pack("<HH", tag, 4))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("pixels were decoded"))
    with pytest.raises(BadImage, match="26000 x 26000 pixels are more than"):
        decode(bomb)


def test_a_jpeg_of_endless_scans_is_refused(photo: Image.Image) -> None:
    whole = encoded(photo, "JPEG", progressive=True)
    last, end = whole.rindex(b"\xff\xda"), whole.rindex(b"\xff\xd9")
    assert decode(whole).shape == (32, 48, 3)
    with pytest.raises(BadImage, match="more than 100 scans"):
        decode(whole[:end] + whole[last:end] * 100 + whole[end:])
    assert decode(whole + b"\xff\xda" * 200).shape == (32, 48, 3)  # as the film that a phone puts behind its picture
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 200
    assert decode(encoded(photo, "JPEG", exif=exif)).shape == (32, 48, 3)


def test_the_limit_is_the_callers(photo: Image.Image) -> None:
    assert decode(encoded(photo), max_pixels=32 * 48).shape == (32, 48, 3)
    with pytest.raises(BadImage, match=r"image: 48 x 32 pixels are more than the limit of 1,535"):
        decode(encoded(photo), max_pixels=32 * 48 - 1)


def test_luminance_weights_and_exact_greys() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    np.testing.assert_allclose(luminance(colours)[0], [0.299 * 255, 0.587 * 255, 0.114 * 255], atol=0.6)
    greys = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(luminance(np.repeat(greys[..., None], 3, axis=2)), greys)


def test_zero_is_white_where_a_tiff_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    for values in (np.zeros((4, 4), np.uint16), np.full((4, 4), 65535, np.uint16)):
        Image.fromarray(values).save(path, tiffinfo={262: 0})
        assert (decode(path) == 255 - values[0, 0] // 257).all()
