"""Every kind of picture that users have, as a person would see it, and one line for what is none."""

import io
import struct
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from hardprompt.errors import InputError, MissingExtra
from hardprompt.lms import hub
from hardprompt.lms.image_text import load_image_text
from hardprompt.lms.image_text.shown import as_shown
from hardprompt.tasks.invert.drawing import draw
from hardprompt.tasks.invert.images import ASPECT, grid, image_files, png, read_image
from tests.contract.test_image_text import save_tiny


def noise(width: int = 30, height: int = 20) -> Any:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def smooth(width: int = 48, height: int = 32) -> Any:
    """What a lossy format leaves nearly as it is."""
    ramp = np.add.outer(np.arange(height), np.arange(width)) * 255 / (width + height)
    return Image.fromarray(np.stack([ramp, 255 - ramp, ramp / 2], -1).astype(np.uint8))


def pixels(image: Any) -> Any:
    return np.asarray(image).astype(int)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large; its data is a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def refused(path: Path, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read_image(path)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tga", "a.ppm"])
def test_colours_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    noise().save(tmp_path / name)
    image = read_image(str(tmp_path / name))
    assert image.mode == "RGB"
    assert np.array_equal(pixels(image), pixels(noise()))


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.gif", "cmyk.jpg", "ycbcr.tif"])
def test_lossy_and_other_colours_come_back_nearly(tmp_path: Path, name: str) -> None:
    mode = {"cmyk": "CMYK", "ycbcr": "YCbCr"}.get(Path(name).stem, "RGB")
    smooth().convert(mode).save(tmp_path / name)
    assert np.abs(pixels(read_image(tmp_path / name)) - pixels(smooth())).mean() < 8


def test_grey_and_palette_and_two_colours(tmp_path: Path) -> None:
    for mode in ("L", "P", "1"):
        picture = noise().convert(mode)
        picture.save(tmp_path / f"{mode}.png")
        assert np.array_equal(pixels(read_image(tmp_path / f"{mode}.png")), pixels(picture.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.array([[0, 200, 32768, 65535]], dtype=np.uint16)).save(tmp_path / f"a.{suffix}")
    assert pixels(read_image(tmp_path / f"a.{suffix}"))[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_grey_of_16_bits_that_pillow_reads_as_32(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n\x00\x00\x80\x00\xff\xff")
    assert pixels(read_image(tmp_path / "a.pgm"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "values", [np.full((2, 2), 0.5, np.float32), np.full((2, 2), 100_000, np.int32), np.full((2, 2), -1, np.int32)]
)
def test_pixels_of_32_bits_are_refused(tmp_path: Path, values: Any) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    refused(tmp_path / "a.tif", "32 bits; expected 8 or 16 bits")


def test_what_is_transparent_lies_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (3, 1), (200, 0, 0, 0))
    clear.putpixel((1, 0), (200, 0, 0, 255))
    clear.putpixel((2, 0), (200, 0, 0, 128))
    clear.save(tmp_path / "rgba.png")
    seen = pixels(read_image(tmp_path / "rgba.png"))[0].tolist()
    assert seen[:2] == [[255, 255, 255], [200, 0, 0]]
    assert np.abs(np.array(seen[2]) - [227, 127, 127]).max() <= 1
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "p.png", transparency=0)
    assert pixels(read_image(tmp_path / "p.png"))[0].tolist() == [[255] * 3, [40, 50, 60]]
    Image.new("LA", (1, 1), (0, 0)).save(tmp_path / "la.png")
    assert pixels(read_image(tmp_path / "la.png"))[0].tolist() == [[255] * 3]


# How EXIF's orientations store a picture, told as what a viewer has to do to the stored rows.
TURNS = {
    1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: np.rot90,
}  # fmt: skip


@pytest.mark.parametrize("orientation", sorted(TURNS))
def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    noise().save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels(read_image(tmp_path / "a.png")), TURNS[orientation](pixels(noise())))


def test_damaged_exif_does_not_hide_a_picture(tmp_path: Path) -> None:
    smooth().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\x00\x01junk")
    assert read_image(tmp_path / "a.jpg").size == smooth().size


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.mpo"])
def test_of_several_frames_the_first_is_used_and_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = Image.new("RGB", (8, 6), (255, 0, 0))
    first.save(tmp_path / name, save_all=True, append_images=[Image.new("RGB", (8, 6), (0, 0, 255))])
    assert np.abs(pixels(read_image(tmp_path / name)) - [255, 0, 0]).max() <= 3
    (message,) = caplog.messages
    assert "the first one is used" in message
    assert name in message


def test_one_frame_is_no_news(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    noise().save(tmp_path / "a.gif")
    read_image(tmp_path / "a.gif")
    assert not caplog.messages


def test_what_is_no_picture_is_said_in_one_line(tmp_path: Path) -> None:
    refused(tmp_path / "none.jpg", "does not exist; give a picture")
    refused(tmp_path, "is a folder; give a picture")
    refused(tmp_path / ("x" * 5000), "cannot be read")
    for name, content, reason in [
        ("empty.jpg", b"", "is an empty file"),
        ("text.jpg", b"no picture\n" * 9, "is not a picture that Pillow knows"),
        ("program.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "is not a picture"),
        ("film.mpg", b"\x00\x00\x01\xb3\x10\x01\x00" + bytes(40), "is not a picture"),
        ("nothing.png", png_header(0, 5), "is not a picture|pixels"),
    ]:
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, reason)


def test_a_header_without_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"GIF89a" + bytes(7) + b";")
    refused(tmp_path / "a.gif", "pixels|Pillow")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.9])
def test_a_truncated_picture_is_refused(tmp_path: Path, kind: str, part: float) -> None:
    whole = io.BytesIO()
    noise().save(whole, kind)
    file = tmp_path / "a"
    file.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * part)])
    refused(file, "cannot be read|not a picture")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damage_never_shows_an_error_of_pillows(tmp_path: Path, kind: str) -> None:
    whole = io.BytesIO()
    noise(12, 9).save(whole, kind)
    random = np.random.default_rng(0)
    said = []
    for _ in range(60):
        content = bytearray(whole.getvalue())
        for at in random.integers(2, len(content), 6):
            content[at] = random.integers(256)
        (tmp_path / "a").write_bytes(content)
        try:
            assert read_image(tmp_path / "a").mode == "RGB"
        except InputError as error:
            said.append(str(error))
    assert not any("\n" in message for message in said)


@pytest.mark.parametrize("size", [(10_001, 10_001), (60_000, 60_000)])  # the second is more than Pillow itself admits
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_header(*size))
    refused(tmp_path / "a.png", "more than 100 megapixels; scale it down")


def test_between_pillows_limit_and_ours_there_is_no_warning(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(9_700, 9_700))
    refused(tmp_path / "a.png", "truncated")


def test_a_strip_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2 * ASPECT)).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png")
    Image.new("RGB", (2, 2 * ASPECT + 1)).save(tmp_path / "b.png")
    refused(tmp_path / "b.png", "2 × 101 pixels; expected")


def test_the_pictures_of_a_folder_in_natural_order(tmp_path: Path) -> None:
    for name in ["10.jpg", "2.JPG", "1.png", "b2.webp", "B10.gif", ".hidden.jpg", "notes.txt", "film.mpg", "x.eps"]:
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert [file.name for file in image_files(str(tmp_path))] == ["1.png", "2.JPG", "10.jpg", "b2.webp", "B10.gif"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no picture; expected files such as"):
        image_files(tmp_path)
    with pytest.raises(InputError, match="is not a folder"):
        image_files(tmp_path / "none")


def test_a_grid_shows_each_picture_above_its_caption() -> None:
    red, blue = Image.new("RGB", (50, 25), "red"), Image.new("RGB", (10, 10), "blue")
    sheet = grid(
        [[(red, "a caption that is too long for one line"), (blue, "")], [(blue, "averyverylongword" * 3)]], width=100
    )
    colours = dict(sheet.getcolors(sheet.width * sheet.height))
    assert colours[100 * 50] == (255, 0, 0)
    assert colours[2 * 100 * 100] == (0, 0, 255)
    assert sheet.size[0] == 3 * 8 + 200
    captioned = pixels(sheet)[8 + 100 : 8 + 100 + 40, 8:108]
    assert (captioned.sum(-1) < 300).any()  # there is writing below
    plain = pixels(sheet)[8 + 100 : 8 + 100 + 40, 116:216]
    assert (plain == 255).all()
    assert (pixels(sheet)[:, :8] == 255).all()
    assert (pixels(sheet)[:, -8:] == 255).all()
    with pytest.raises(InputError, match="at least one"):
        grid([[]])


def test_a_png_holds_the_same_picture(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(png(noise()))
    assert np.array_equal(pixels(read_image(tmp_path / "a")), pixels(noise()))


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("PIL", "PIL.Image"):
        monkeypatch.setitem(sys.modules, module, None)
    for attempt in (
        lambda: read_image("a.jpg"),
        lambda: image_files(tmp_path),
        lambda: load_image_text("embedded:conse"),
    ):
        with pytest.raises(MissingExtra, match=r"pip install 'hardprompt\[images\]'"):
            attempt()


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hardprompt\[diffusion\]'"):
        draw(["a cat"], model="some/model")


class Pipeline:
    """What diffusers promises of a pipeline: it draws its generator's next number."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def from_pretrained(self, source: str, **settings: Any) -> "Pipeline":
        if source == "no/model":
            raise OSError("no such model\nand pages more")
        assert settings["use_safetensors"] is True
        assert not settings.get("trust_remote_code")
        return self

    def to(self, device: str) -> "Pipeline":
        return self

    def set_progress_bar_config(self, *, disable: bool) -> None:
        assert disable

    def __call__(self, prompt: str, *, generator: torch.Generator, **settings: Any) -> Any:
        self.calls.append(settings)
        shade = int(torch.randint(0, 256, (1,), generator=generator))
        found = Image.new("RGB", (4, 4), (shade, len(prompt), 0))
        return SimpleNamespace(images=[found], nsfw_content_detected=[prompt == "bad"])


def test_a_drawing_depends_on_its_prompt_and_the_seed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline()
    monkeypatch.setitem(sys.modules, "diffusers", SimpleNamespace(AutoPipelineForText2Image=pipeline, __spec__="set"))
    monkeypatch.setattr(hub, "answers", lambda: True)
    both = draw(["a cat", "a horse"], model="some/model", seed=3)
    (alone,) = draw(["a horse"], model="some/model", seed=3)
    assert np.array_equal(pixels(both[1]), pixels(alone))
    assert not np.array_equal(pixels(alone), pixels(draw(["a horse"], model="some/model", seed=4)[0]))
    assert pipeline.calls[0] == {"num_inference_steps": 25, "guidance_scale": 9.0}
    assert not caplog.messages
    draw(["bad"], model="some/model")
    assert "safety checker" in caplog.messages[0]
    with pytest.raises(InputError, match=r"model 'no/model' cannot draw: no such model\. Valid: "):
        draw(["a cat"], model="no/model")


# Of Display P3 and of sRGB, adapted to D50, as ICC profiles have them: X, Y, Z of red, green and blue.
P3 = np.array([[0.515102, 0.241182, -0.00105], [0.291965, 0.692236, 0.041882], [0.157153, 0.066582, 0.784378]])
SRGB = np.array([[0.436075, 0.222504, 0.013932], [0.385065, 0.716879, 0.097105], [0.143080, 0.060617, 0.714173]])


def profile(**colorants: Any) -> bytes:
    """The sRGB profile with other colorants: the tags rXYZ, gXYZ and bXYZ."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(struct.unpack(">I", data[128:132])[0]):
        name, offset, _ = struct.unpack(">4sII", data[132 + 12 * number : 144 + 12 * number])
        if name.decode() in colorants:
            data[offset + 8 : offset + 20] = struct.pack(">3i", *(round(v * 65536) for v in colorants[name.decode()]))
    return bytes(data)


def linear(values: Any) -> Any:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def curved(values: Any) -> Any:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_a_profile_that_swaps_red_and_blue_swaps_them(tmp_path: Path, suffix: str) -> None:
    swapped = profile(rXYZ=SRGB[2], bXYZ=SRGB[0])
    red = Image.new("RGB", (32, 32), (200, 40, 10))
    red.save(tmp_path / f"a.{suffix}", icc_profile=swapped)
    assert np.abs(pixels(read_image(tmp_path / f"a.{suffix}"))[8, 8] - [10, 40, 200]).max() <= 6


def test_display_p3_is_shown_as_arithmetic_on_its_colorants_says(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(90, 160, (16, 16, 3), dtype=np.uint8))
    p3 = profile(rXYZ=P3[0], gXYZ=P3[1], bXYZ=P3[2])
    picture.save(tmp_path / "a.png", icc_profile=p3)
    expected = curved(linear(np.asarray(picture) / 255.0) @ P3 @ np.linalg.inv(SRGB)) * 255.0
    found = pixels(read_image(tmp_path / "a.png"))
    assert np.abs(found - expected).max() <= 1.5
    assert np.abs(found - pixels(picture)).max() > 5
    clear = picture.convert("RGBA")
    clear.putalpha(128)
    clear.save(tmp_path / "b.png", icc_profile=p3)
    assert np.abs(pixels(read_image(tmp_path / "b.png")) - (expected * 128 + 255.0 * 127) / 255).max() <= 2


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    noise().save(tmp_path / "a.png", icc_profile=profile())
    assert np.abs(pixels(read_image(tmp_path / "a.png")) - pixels(noise())).max() <= 1


@pytest.mark.parametrize("bad", [b"no profile", profile()[:200], profile()[:16] + b"CMYK" + profile()[20:]])
def test_a_profile_that_cannot_be_used_is_ignored_after_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, bad: bytes
) -> None:
    noise().save(tmp_path / "a.png", icc_profile=bad)
    assert np.array_equal(pixels(read_image(tmp_path / "a.png")), pixels(noise()))
    assert "colour profile that cannot be used" in caplog.text


def test_a_picture_that_is_handed_over_is_read_as_its_file_is(tmp_path: Path) -> None:
    tower = load_image_text(str(save_tiny("clip", tmp_path / "clip")))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6  # a viewer turns it by a quarter to the right
    picture.save(tmp_path / "a.png", icc_profile=profile(rXYZ=SRGB[2], bXYZ=SRGB[0]), exif=turned)
    meant = Image.merge("RGB", picture.split()[::-1]).transpose(Image.Transpose.ROTATE_270)
    with Image.open(tmp_path / "a.png") as handed:
        found = tower.images([handed])
        assert handed.info["icc_profile"]  # it is the user's
        once = as_shown(handed)
    assert np.abs(pixels(once) - pixels(meant)).max() <= 2
    assert np.array_equal(pixels(as_shown(once)), pixels(once))
    torch.testing.assert_close(found, tower.images([meant]), atol=2e-2, rtol=0)
    assert (found - tower.images([picture])).abs().max() > 5e-2
