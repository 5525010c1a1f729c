from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from i2uv_edge.data import pictures
from i2uv_edge.data.pictures import Box
from i2uv_edge.errors import InputError

# A 16 x 16 CMYK JPEG with an Adobe marker, its left half orange (230, 120, 20), its right half
# blue (20, 60, 200); no library of this project writes one.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBX"
    "QUZMTlJTUjI+WmFaUGBKUVJP/8AAFAgAEAAQBEMRAE0RAFkRAEsRAP/EABgAAAMBAQAAAAAAAAAAAAAAAAAGBwgD/8QA"
    "FBABAAAAAAAAAAAAAAAAAAAAAP/aAA4EQwBNAFkASwAAPwB/ck9U5n4tLcGgTKiIZ+LS3B//2Q=="
)

TOLERANCES = {".png": 0, ".bmp": 0, ".tiff": 0, ".webp": 3, ".jpg": 6}
LOSSLESS_WEBP = {".png": (), ".webp": (cv2.IMWRITE_WEBP_QUALITY, 101)}


def scene(height: int = 24, width: int = 40) -> NDArray[np.uint8]:
    """A smooth RGB picture with no symmetry, so that a wrong turn or channel order shows."""
    rows, columns = np.mgrid[0:height, 0:width]
    red = 40 + 200 * columns / width
    green = 30 + 150 * rows / height
    blue = np.full((height, width), 90.0)
    return np.rint(np.stack([red, green, blue], -1)).astype(np.uint8)


def encode(suffix: str, rgb: NDArray[np.generic], *options: int) -> bytes:
    if rgb.ndim == 3:
        rgb = rgb[:, :, ::-1] if rgb.shape[2] == 3 else rgb[:, :, [2, 1, 0, 3]]
    done, content = cv2.imencode(suffix, rgb, list(options))
    assert done
    return content.tobytes()


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def with_exif(jpeg: bytes, orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\0\0" + body
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def png_with_exif(png: bytes, orientation: int, order: str = "<", *, directory: int = 8) -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    body = mark + struct.pack(f"{order}IHHHIHHI", directory, 1, 0x0112, 3, 1, orientation, 0, 0)
    chunk = b"eXIf" + body
    chunk = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:33] + chunk + png[33:]  # after the signature and IHDR


def rgba_tiff(rgba: NDArray[np.uint8]) -> bytes:
    """An uncompressed TIFF whose fourth sample is declared as unassociated alpha."""
    height, width, _ = rgba.shape
    short, long = 3, 4
    entries = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 4, 8 + rgba.size),  # bits a sample: four shorts after the pixels
        (259, short, 1, 1),
        (262, short, 1, 2),
        (273, long, 1, 8),
        (277, short, 1, 4),
        (278, long, 1, height),
        (279, long, 1, rgba.size),
        (338, short, 1, 2),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    start = struct.pack("<I", 8 + rgba.size + 8)
    return b"II*\0" + start + rgba.tobytes() + struct.pack("<4H", 8, 8, 8, 8) + directory


def as_seen(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn a stored picture upright, written out case by case from the EXIF standard."""
    return {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2),
        8: np.rot90,
    }[orientation](stored)


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "tolerance"), TOLERANCES.items())
def test_every_format_reads_as_rgb(tmp_path: Path, suffix: str, tolerance: int) -> None:
    path = write(tmp_path, f"a{suffix}", encode(suffix, scene()))
    read = pictures.read_picture(path)
    assert read.shape == (24, 40, 3)
    assert read.dtype == np.uint8
    assert np.abs(read.astype(int) - scene()).max() <= tolerance


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = write(tmp_path, "really_a_png.jpg", encode(".png", scene()))
    assert np.array_equal(pictures.read_picture(path), scene())


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".bmp"])
def test_grey_becomes_rgb(tmp_path: Path, suffix: str) -> None:
    grey = scene()[:, :, 0]
    read = pictures.read_picture(write(tmp_path, f"a{suffix}", encode(suffix, grey)))
    assert read.shape == (24, 40, 3)
    assert np.abs(read.astype(int) - grey[:, :, None]).max() <= 4


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bits_become_8(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path, f"a{suffix}", encode(suffix, scene().astype(np.uint16) * 257))
    assert np.abs(pictures.read_picture(path).astype(int) - scene()).max() <= 1


def test_16_bit_grey_becomes_8_bit_rgb(tmp_path: Path) -> None:
    grey = scene()[:, :, 0].astype(np.uint16) * 257
    read = pictures.read_picture(write(tmp_path, "a.png", encode(".png", grey)))
    assert np.abs(read.astype(int) - scene()[:, :, :1]).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_transparency_lies_over_black(tmp_path: Path, suffix: str) -> None:
    alpha = np.full((24, 40, 1), 255, np.uint8)
    alpha[:, 20:] = 0
    alpha[:, :10] = 128
    rgba = np.concatenate([scene(), alpha], -1)
    content = rgba_tiff(rgba) if suffix == ".tiff" else encode(suffix, rgba, *LOSSLESS_WEBP[suffix])
    read = pictures.read_picture(write(tmp_path, f"a{suffix}", content)).astype(int)
    assert np.abs(read - scene() * (alpha / 255.0)).max() <= 1.01


def test_16_bit_transparency_lies_over_black(tmp_path: Path) -> None:
    rgba = np.concatenate([scene(), np.full((24, 40, 1), 64, np.uint8)], -1).astype(np.uint16) * 257
    read = pictures.read_picture(write(tmp_path, "a.png", encode(".png", rgba)))
    assert np.abs(read - scene() * (64 / 255)).max() <= 1.01


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    read = pictures.read_picture(write(tmp_path, "a.jpg", CMYK_JPEG)).astype(int)
    assert read.shape == (16, 16, 3)
    assert np.abs(read[:, :6] - (230, 120, 20)).max() <= 12
    assert np.abs(read[:, 10:] - (20, 60, 200)).max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, order: str) -> None:
    content = with_exif(encode(".jpg", scene()), orientation, order)
    read = pictures.read_picture(write(tmp_path, "a.jpg", content)).astype(int)
    expected = as_seen(scene(), orientation)
    assert read.shape == expected.shape
    assert np.abs(read - expected).max() <= 6


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_orientation_of_a_transparent_picture(
    tmp_path: Path, orientation: int, order: str
) -> None:
    rgba = np.concatenate([scene(), np.full((24, 40, 1), 255, np.uint8)], -1)
    content = png_with_exif(encode(".png", rgba), orientation, order)
    read = pictures.read_picture(write(tmp_path, "a.png", content))
    assert np.array_equal(read, as_seen(scene(), orientation))


def test_a_damaged_exif_block_turns_nothing(tmp_path: Path) -> None:
    rgba = np.concatenate([scene(), np.full((24, 40, 1), 255, np.uint8)], -1)
    content = png_with_exif(encode(".png", rgba), 6, directory=0x7FFFFFFF)
    read = pictures.read_picture(write(tmp_path, "a.png", content))
    assert np.array_equal(read, scene())


def test_the_first_page_of_several_is_read(tmp_path: Path) -> None:
    done, content = cv2.imencodemulti(".tiff", [scene()[:, :, ::-1], 255 - scene()])
    assert done
    path = write(tmp_path, "a.tiff", content.tobytes())
    assert np.array_equal(pictures.read_picture(path), scene())


def test_bytes_after_the_end_are_harmless(tmp_path: Path) -> None:
    path = write(tmp_path, "motion_photo.jpg", encode(".jpg", scene()) + b"\0\xffvideo" * 50)
    assert pictures.read_picture(path).shape == (24, 40, 3)


# --- refusing -------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        pictures.read_picture(path)
    assert caught.value.exit_code == 2
    assert str(path) in str(caught.value)
    assert caught.value.expected
    assert caught.value.remedy
    return str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.995])
@pytest.mark.parametrize("suffix", TOLERANCES)
def test_a_truncated_picture_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    content = encode(suffix, noise)
    refusal(write(tmp_path, f"a{suffix}", content[: int(len(content) * share)]))


@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_marker_is_refused(tmp_path: Path, missing: int) -> None:
    path = write(tmp_path, "a.jpg", encode(".jpg", scene())[:-missing])
    assert "end marker" in refusal(path)


def test_the_end_marker_of_a_thumbnail_is_not_the_pictures(tmp_path: Path) -> None:
    jpeg = encode(".jpg", scene())
    thumbnail = b"Exif\0\0" + encode(".jpg", scene(8, 8))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    whole = jpeg[:2] + segment + jpeg[2:]
    assert pictures.read_picture(write(tmp_path, "whole.jpg", whole)).shape == (24, 40, 3)
    assert "end marker" in refusal(write(tmp_path, "cut.jpg", whole[:-30]))


def test_a_progressive_jpeg_is_judged_by_its_own_end(tmp_path: Path) -> None:
    jpeg = encode(
        ".jpg", scene(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 1
    )
    assert pictures.read_picture(write(tmp_path, "whole.jpg", jpeg)).shape == (24, 40, 3)
    assert "end marker" in refusal(write(tmp_path, "cut.jpg", jpeg[:-3]))


def test_a_missing_picture_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "absent.png")


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    refusal(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "is empty" in refusal(write(tmp_path, "a.jpg", b""))


@pytest.mark.parametrize("content", [b"hello, I am a text", b"<html></html>", b"\0" * 64])
def test_other_content_under_a_picture_suffix_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "JPEG, PNG, BMP, WebP or TIFF" in refusal(write(tmp_path, "a.jpg", content))


def test_a_picture_without_pixels_is_refused(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 0, 0, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        chunks += struct.pack(">I", len(body)) + kind + body + crc
    refusal(write(tmp_path, "a.png", b"\x89PNG\r\n\x1a\n" + chunks))


def test_a_picture_larger_than_the_decoder_allows_is_refused(tmp_path: Path) -> None:
    content = bytearray(encode(".bmp", scene()))
    content[18:26] = struct.pack("<ii", 2**30, 2**30)
    refusal(write(tmp_path, "a.bmp", bytes(content)))


def test_a_floating_point_picture_is_refused(tmp_path: Path) -> None:
    content = encode(".tiff", scene().astype(np.float32) / 255)
    assert "8 or 16 bits" in refusal(write(tmp_path, "a.tiff", content))


def test_a_damaged_png_is_refused(tmp_path: Path) -> None:
    content = bytearray(encode(".png", scene()))
    content[len(content) // 2] ^= 0xFF
    refusal(write(tmp_path, "a.png", bytes(content)))


def test_the_decoder_stays_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    content = encode(".tiff", scene())
    refusal(write(tmp_path, "a.tiff", content[: len(content) // 2]))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_lists_its_pictures_by_name_and_counts_the_rest(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.webp", "notes.txt", "k.npy", ".hidden.png"):
        write(tmp_path, name, b"x")
    write(tmp_path, "no_suffix", encode(".png", scene()))
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", "d.png", encode(".png", scene()))
    paths, skipped = pictures.list_pictures(tmp_path)
    assert [path.name for path in paths] == ["a.JPG", "b.png", "c.webp", "no_suffix"]
    assert skipped == 3


def test_pictures_of_unsupported_kinds_are_listed_so_that_reading_names_them(
    tmp_path: Path,
) -> None:
    write(tmp_path, "phone.HEIC", b"\0\0\0\x18ftypheic")
    (path,), skipped = pictures.list_pictures(tmp_path)
    assert skipped == 0
    refusal(path)


@pytest.mark.parametrize("case", ["missing", "file", "empty", "no pictures"])
def test_a_folder_without_pictures_is_refused(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "folder"
    if case == "file":
        folder.write_bytes(b"x")
    elif case != "missing":
        folder.mkdir()
    if case == "no pictures":
        write(folder, "notes.txt", b"x")
    with pytest.raises(InputError, match="folder") as caught:
        pictures.list_pictures(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.remedy


def test_sha256_is_of_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path, "a.bin", b"some bytes")
    assert pictures.sha256_of(path) == hashlib.sha256(b"some bytes").hexdigest()
    with pytest.raises(InputError, match="absent"):
        pictures.sha256_of(tmp_path / "absent")


# --- crops ----------------------------------------------------------------------------------------


def test_a_crop_of_the_same_size_is_the_picture() -> None:
    square = scene(32, 32)
    cut, box = pictures.crop(square, 32)
    assert cut.dtype == np.float32
    assert box == Box(0, 0, 32)
    assert np.array_equal(cut, square.astype(np.float32) / 255)


@pytest.mark.parametrize(("height", "width"), [(20, 40), (40, 20), (21, 40)])
def test_a_whole_picture_is_padded_black_to_a_square(height: int, width: int) -> None:
    cut, box = pictures.crop(np.full((height, width, 3), 255, np.uint8), 40)
    assert cut.shape == (40, 40, 3)
    assert box.side == 40
    assert cut.sum() == height * width * 3
    white = np.argwhere(cut[:, :, 0] == 1)
    assert white.min(0).tolist() == [-box.top, -box.left]


def test_a_box_beyond_the_border_is_black_there() -> None:
    cut, box = pictures.crop(np.full((10, 10, 3), 255, np.uint8), 8, Box(6, -4, 8))
    assert box == Box(6, -4, 8)
    assert cut[4:, :4].min() == 1
    assert cut[:4].max() == 0
    assert cut[:, 4:].max() == 0


@pytest.mark.parametrize("box", [Box(10, 0, 5), Box(0, -5, 5), Box(2, 2, 0)])
def test_a_box_that_misses_the_picture_is_refused(box: Box) -> None:
    with pytest.raises(InputError, match="holds nothing"):
        pictures.crop(scene(10, 10), 8, box)


def test_a_wrong_array_is_a_bug() -> None:
    with pytest.raises(ValueError, match="uint8"):
        pictures.crop(scene().astype(np.float32), 8)  # type: ignore[arg-type]


def test_shrinking_averages_the_area() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cut, _ = pictures.crop(noise, 16)
    area = noise.reshape(16, 4, 16, 4, 3).mean((1, 3)) / 255
    assert np.abs(cut - area).max() <= 0.51 / 255


def test_growing_is_bilinear() -> None:
    ramp = np.repeat(np.arange(0, 160, 10, np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    cut, _ = pictures.crop(ramp, 32)
    # Half-pixel centres: pixel 4 of the double size lies a quarter before pixel 2's centre.
    assert cut[8, 4] * 255 == pytest.approx([17.5] * 3, abs=0.51)
    assert cut[8, 5] * 255 == pytest.approx([22.5] * 3, abs=0.51)


def test_a_crop_holds_8_bit_levels() -> None:
    cut, _ = pictures.crop(scene(50, 50), 16)
    assert np.allclose(cut * 255, np.rint(cut * 255), atol=1e-4)
    assert 0 <= cut.min() <= cut.max() <= 1


@pytest.mark.parametrize("size", [16, 128])
def test_map_coordinates_go_back_to_picture_pixels(size: int) -> None:
    picture = np.zeros((90, 120, 3), np.uint8)
    picture[45:60, 55:70] = 255  # centred at x = 62.5, y = 52.5
    cut, box = pictures.crop(picture, size, Box(20, 10, 80))
    light = cut[:, :, 0].astype(np.float64)
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    centre = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum() / size
    assert box.to_pixels(centre) == pytest.approx([62.5, 52.5], abs=0.05)
    assert box.to_crop(np.array([62.5, 52.5])) == pytest.approx(centre, abs=0.001)


def test_the_contract_of_a_crop_is_stated() -> None:
    assert pictures.PREPROCESS["colour"] == "RGB"
    assert pictures.PREPROCESS["range"] == [0.0, 1.0]
