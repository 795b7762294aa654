"""`fer.predict`: what it takes, what it writes, what it refuses, and that it can go on for ever."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from conftest import composed
from PIL import Image
from rich.console import Console
from started import run_command

from fer import load
from fer.cli.command import Call
from fer.cli.quoting import with_paths_quoted
from fer.data.faces import Box, face_box
from fer.data.images import decode
from fer.errors import FerError
from fer.predict import run
from fer.use.answers import Face
from fer.use.background import in_background
from fer.use.crops import read_picture
from fer.use.items import Item
from fer.use.rows import RowFile
from fer.use.sources import open_source
from fer.use.stream import Seen
from fer.use.terminal import print_picture

Predict = Callable[..., Path]


@pytest.fixture
def predict(lively: Path, tmp_path: Path) -> Predict:
    """`predict(input, *overrides)` is `fer.predict` on the small model; returns its output file."""

    def start(what: object, *overrides: str, output: str = "out.csv") -> Path:
        typed = (f"checkpoint={lively}", f"input='{what}'", f"output={tmp_path / output}", *overrides)
        run(composed("predict", *typed), Call("", (), None))
        return tmp_path / output

    return start


@pytest.fixture
def folder(tree: Path, tmp_path: Path) -> Path:
    """Three pictures, one of them below, and what is none."""
    root = tmp_path / "some photos"
    (root / "below").mkdir(parents=True)
    for name, path in zip(("b.png", "below/a.PNG", "c.png"), sorted(tree.glob("*/*/*/*.png"))[::9], strict=False):
        (root / name).write_bytes(path.read_bytes())
    (root / "broken.jpg").write_bytes(b"no picture")
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def video(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 frames, 10 a second: 14 of a face that moves to the right, then 6 without one."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    face = cv2.imread(str(next(tree.glob("*/*/*/*.png"))))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (800, 490))
    for k in range(20):
        frame = np.full((490, 800, 3), 128, np.uint8)
        if k < 14:
            frame[: len(face), 10 * k : 10 * k + 640] = face  # 490 or 480 rows, as in CK+
        writer.write(frame)
    writer.release()
    return path


def test_a_folder_gives_a_row_per_face_and_names_what_it_left_out(
    predict: Predict, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    table = pd.read_csv(predict(folder))
    assert table["path"].tolist() == [str(folder / name) for name in ("b.png", "c.png", "below/a.PNG")]
    assert table.columns[:6].tolist() == ["path", "x", "y", "w", "h", "how"]
    assert {"AU4_prob", "AU4_pred", "emotion_pred", "emotion_prob_negative"} <= set(table.columns)
    assert set(table["how"]) == {"detector"}
    assert "broken.jpg" in caplog.text and "1 x hidden pictures" in caplog.text and "1 x .txt" in caplog.text
    assert "3 pictures, 3 faces; 1 could not be read" in caplog.text


def test_glob_json_lines_and_table_with_boxes(predict: Predict, folder: Path) -> None:
    lines = predict(folder / "**" / "[ab].*", output="out.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [Path(row["path"]).name for row in rows] == ["b.png", "a.PNG"]
    table = folder / "table.csv"
    table.write_text("filepath;x;y;w;h\nb.png;200;100;220;220\nb.png;;;;\nabsent.png;;;;\n")
    found = pd.read_csv(predict(table, output="boxes.csv"))
    assert found["path"].tolist() == ["b.png", "b.png"] and found["how"].tolist() == ["box", "detector"]
    assert found.loc[0, ["x", "y", "w", "h"]].tolist() == [200, 100, 220, 220]
    assert rows[0]["AU4_prob"] == pytest.approx(found.loc[1, "AU4_prob"], abs=1e-5)


def test_landmarks_of_a_table_say_where_the_face_is_as_in_training(
    predict: Predict, tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture = sorted(tree.glob("cohn-kanade-images/*/*/*.png"))[0]
    points = next((tree / "Landmarks").glob(f"*/*/{picture.stem}_landmarks.txt"))
    (tmp_path / "broken.txt").write_text("1 2\n3")
    table = tmp_path / "table.csv"
    rows = [f"{picture},{points},,,,", f"{picture},,9,9,200,200", f"{picture},{tmp_path / 'broken.txt'},9,9,200,200"]
    table.write_text("\n".join(["path,landmarks,x,y,w,h", *rows]))
    found = pd.read_csv(predict(table))
    wanted = [face_box(decode(picture), np.loadtxt(points))[0], (9, 9, 200, 200), (9, 9, 200, 200)]
    np.testing.assert_allclose(found[["x", "y", "w", "h"]], np.array(wanted), atol=0.5)
    assert found["how"].tolist() == ["landmarks", "box", "box"]
    assert "could not be used" not in caplog.text
    table.write_text(f"path,landmarks\n{picture},{tmp_path / 'broken.txt'}\n")
    predict(table, output="few.csv")
    assert "1 landmarks or boxes could not be used" in caplog.text


def test_a_video_gives_frames_times_and_faces_that_keep_their_number(predict: Predict, video: Path) -> None:
    table = pd.read_csv(predict(video, "every=4"))
    assert table["frame"].tolist() == [0, 4, 8, 12, 16]
    assert table["time"].tolist() == pytest.approx([0, 0.4, 0.8, 1.2, 1.6])
    assert table["how"].tolist() == ["detector"] * 4 + ["whole"]
    assert table["face"][:4].tolist() == [0] * 4 and table["face"].isna()[4]
    assert table["x"][:4].is_monotonic_increasing


def test_frames_have_the_colours_of_the_video(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    writer.write(np.full((48, 64, 3), (20, 60, 220), np.uint8))  # blue, green, red
    writer.release()
    pixels = np.asarray(next(iter(open_source(str(tmp_path / "red.avi"), 1).items)).picture)
    np.testing.assert_allclose(pixels.mean((0, 1)), (220, 60, 20), atol=12)  # red, green, blue


def test_smoothing_averages_over_time(predict: Predict, video: Path) -> None:
    plain = pd.read_csv(predict(video))["AU4_prob"][:14]
    smooth = pd.read_csv(predict(video, "smoothing=0.5", output="smooth.csv"))["AU4_prob"][:14]
    expected = [plain[0]]
    for value in plain[1:]:
        expected.append(expected[-1] + (1 - np.exp(-0.1 / 0.5)) * (value - expected[-1]))
    assert smooth.tolist() == pytest.approx(expected, abs=1e-4) and plain.tolist() != pytest.approx(expected, abs=1e-4)


def test_one_picture_is_a_table_on_the_terminal(lively: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(composed("predict", f"checkpoint={lively}", f"input='{folder / 'b.png'}'"), Call("", (), None))
    shown = capsys.readouterr().out
    assert "face 1 of 1" in shown and "brow lowerer" in shown and "negative" in shown


def test_names_of_files_steer_nothing_and_lose_nothing(
    predict: Predict, lively: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = (folder / "b.png").read_bytes()
    odd = tmp_path / "odd"
    odd.mkdir()
    names = [
        "a [b].png",
        "\u5199\u771f\u3000\u202f1.png",
        "esc\x1b[31m.png",
        "m\udce9.png",
        "${oc.env:HOME}.png",
        "z.png",
    ]
    for name in names:
        (odd / name).write_bytes(one)
    os.mkfifo(odd / "pipe.png")
    for output in ("out.csv", "out.jsonl"):
        assert len(predict(odd, output=output).read_text().splitlines()) == len(names) + output.endswith("csv")
    run(composed("predict", f"checkpoint={lively}", f"input='{odd}'"), Call("", (), None))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and r"esc\x1b[31m.png" in shown and r"m\udce9.png" in shown and names[1] in shown
    group = Seen(Item("group [/b].png", odd / "z.png"), load(lively).predict(odd / "z.png") * 4)
    print_picture(group, load(lively).facts, Console())
    assert "group [/b].png" in capsys.readouterr().out
    word = f"input={odd / names[4]}"
    run(composed("predict", f"checkpoint={lively}", *with_paths_quoted([word])), Call("", (), None))
    assert "face 1 of 1" in capsys.readouterr().out


def test_pictures_are_drawn_where_they_were_found(predict: Predict, folder: Path, tmp_path: Path) -> None:
    (folder / "b.jpg").write_bytes((folder / "b.png").read_bytes())
    predict(folder, f"annotate={tmp_path / 'drawn'}")
    drawn = sorted(str(path.relative_to(tmp_path / "drawn")) for path in (tmp_path / "drawn").rglob("*.jpg"))
    assert drawn == ["b.jpg", "b_2.jpg", "below/a.jpg", "c.jpg"]
    with Image.open(tmp_path / "drawn" / "c.jpg") as image, Image.open(folder / "c.png") as original:
        assert image.height == original.height and image.width > original.width


def test_nothing_is_written_over(predict: Predict, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(FerError, match=r"out\.csv is there already.*overwrite=true"):
        predict(folder)
    with pytest.raises(FerError, match="not empty"):
        predict(folder, f"annotate={folder}", output="other.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"
    assert predict(folder, "overwrite=true").read_text().startswith("path,")


def test_what_is_looked_at_is_never_written_over(predict: Predict, folder: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for looked_at in (folder, next(folder.glob("*.png")), folder / "*.png"):
        with pytest.raises(FerError, match="where the pictures are"):
            predict(looked_at, f"annotate={folder}", "overwrite=true", output="other.csv")
    table = folder / "table.csv"
    table.write_text(f"path\n{next(folder.glob('*.png'))}\n")
    with pytest.raises(FerError, match="is the input"):
        predict(table, "overwrite=true", output=str(table))
    os.link(table, folder.parent / "linked.csv")
    with pytest.raises(FerError, match="is the input"):
        predict(table, "overwrite=true", output=str(folder.parent / "linked.csv"))
    beside = folder.parent / "beside.csv"
    beside.write_text(f"path\n{folder.name}/{next(folder.glob('*.png')).name}\n")
    with pytest.raises(FerError, match="where the pictures are"):  # of another folder than the table's
        predict(beside, f"annotate={folder.parent}", "overwrite=true", output="other.csv")
    below = folder.parent / "below"
    for place in (below, below / "more"):
        place.mkdir()
        (place / "a.jpg").write_bytes(next(iter(before.values())))
    with pytest.raises(FerError, match="where the pictures are"):  # a.jpg would be drawn as more/a.jpg
        predict(below, f"annotate={below / 'more'}", "overwrite=true", output="other.csv")
    links = folder.parent / "links"
    links.mkdir()
    (links / "a.png").symlink_to(next(folder.glob("*.png")))
    with pytest.raises(FerError, match="where the pictures are"):
        predict(links, f"annotate={folder}", "overwrite=true", output="other.csv")
    with pytest.raises(FerError, match="the next run would look at its drawings"):
        predict(folder, f"annotate={folder / 'drawn'}", output="other.csv")
    assert {path: path.read_bytes() for path in before} == before


def test_names_that_begin_like_a_home_folder_are_names(
    predict: Predict, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "b.png").rename("~b.png")
    found = pd.read_csv(predict("."))
    assert read_picture("~b.png").ndim == 3
    assert {os.path.normpath(path) for path in found["path"]} == {"below/a.PNG", "c.png", "~b.png"}


def test_a_folder_that_can_not_be_read_is_named(
    predict: Predict, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scandir = os.scandir

    def refused(path: str) -> Any:
        if str(path).endswith("below"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert len(pd.read_csv(predict(folder))) == 2
    assert "left out: " in caplog.text and "below: Permission denied" in caplog.text


def test_pictures_of_a_table_are_drawn_in_the_same_places_from_everywhere(
    predict: Predict, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "t.csv").write_text("path\nbelow/a.PNG\nc.png\n")
    predict(folder / "t.csv", f"annotate={tmp_path / 'one'}", output="one.csv")
    monkeypatch.chdir(folder)
    predict("t.csv", f"annotate={tmp_path / 'two'}", output="two.csv")
    for drawn in ("one", "two"):
        assert {str(p.relative_to(tmp_path / drawn)) for p in (tmp_path / drawn).rglob("*.jpg")} == {
            "below/a.jpg",
            "c.jpg",
        }


def test_links_to_folders_are_left_out_aloud(lively: Path, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    mixed = folder.parent / "mixed"
    mixed.mkdir()
    (mixed / "more").symlink_to(folder)
    (mixed / "a.png").write_bytes((folder / "b.png").read_bytes())
    run(composed("predict", f"checkpoint={lively}", f"input={mixed}"), Call("", (), None))
    assert "left out: 1 x links to folders" in caplog.text


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("absent.jpg", "input=absent.jpg: there is no such file or folder"),
        ("absent.mp4", "there is no such file"),
        ("absent/*.png", "no picture fits this pattern"),
        ("{folder}/notes.txt", "notes.txt: not an image"),
        ("{folder}/broken.jpg", "broken.jpg: not an image"),
        ("{folder}/empty", "no picture in this folder"),
        ("{folder}/fake.mp4", "not a video that can be read here"),
        ("{folder}/bad.csv", "no column with the path"),
        ("{folder}/half.csv", "line 2: column w is '-5'"),
        ("{folder}/lost.csv", "none of the 2 pictures could be read"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_no_file(predict: Predict, folder: Path, what: str, message: str) -> None:
    (folder / "empty").mkdir()
    (folder / "fake.mp4").write_bytes(b"no video")
    (folder / "bad.csv").write_text("who,when\na,b\n")
    (folder / "half.csv").write_text("path,x,y,w,h\nb.png,1,2,-5,4\n")
    (folder / "lost.csv").write_text("path\nx.png\ny.png\n")
    with pytest.raises(FerError, match=message) as caught:
        predict(what.format(folder=folder))
    assert "\n" not in str(caught.value)
    assert not (folder.parent / "out.csv").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "checkpoint is missing.*input is missing"),
        (("checkpoint=x", "input=y", "output=z.txt"), r"output must end in \.csv or \.jsonl, got z\.txt"),
        (("checkpoint=x", "input=y", "every=0"), "every must be at least 1"),
        (
            ("checkpoint=x.onnx", "input=y", "accelerator=gpu"),
            r"accelerator=gpu: an exported \.onnx or \.xml file is run",
        ),
    ],
)
def test_wrong_settings_are_one_line(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(FerError, match=message):
        composed("predict", *overrides)


def test_a_camera_that_is_not_there_is_said_so() -> None:
    with pytest.raises(FerError, match="input=77: no camera of this number"):
        open_source("77")


def test_a_camera_that_gives_no_more_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from fer.use import video

    class Unplugged:
        def __init__(self, *_: Any) -> None:
            self.left = 2

        def isOpened(self) -> bool:
            return True

        def get(self, _: int) -> float:
            return 10.0

        def grab(self) -> bool:
            self.left -= 1
            return self.left >= 0

        def retrieve(self) -> tuple[bool, Any]:
            return True, np.zeros((10, 10, 3), np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(video.cv2, "VideoCapture", Unplugged)
    with pytest.raises(FerError, match="input=0: the camera gave no more pictures after 2 frames"):
        list(open_source("0").items)


def test_a_carriage_return_in_a_name_ends_no_row(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.csv", ["path", "x", "y", "w", "h", "how"])
    file.write(Seen(Item("a\rb.png", "a.png"), [Face(Box(1, 2, 3, 4), "box", {}, {}, None, {}, False)], [None]))
    file.close()
    assert pd.read_csv(file.path)["how"].tolist() == ["box"]


def test_rows_are_on_disk_as_soon_as_they_are_written(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "rows.csv", ["path", "x"])
    assert not file.path.exists()
    file.write(Seen(Item("a.png", "a.png")))
    assert file.path.read_text() == "path,x\n"
    file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").symlink_to("/dev/full")
    file = RowFile(tmp_path / "rows.csv", ["path", "x"])
    for write in (lambda: file.write(Seen(Item("a.png", "a.png"), [])), file.close):
        with pytest.raises(FerError, match=r"rows\.csv can't be written: No space left"):
            write()


def test_background_work_stays_in_order_and_within_bounds() -> None:
    taken = 0

    def source() -> Iterator[int]:
        nonlocal taken
        for k in range(300):
            taken += 1
            yield k

    def work(k: int) -> int:
        time.sleep(0.002 * (k % 3 == 0))
        return k * k

    for given, result in enumerate(in_background(source(), work, jobs=3, ahead=5)):
        assert result == given * given
        assert taken <= given + 2 + 2 * 3 + 5
    assert given == 299


def test_background_work_takes_no_more_than_its_threads_can_use() -> None:
    taken, seen, gate = 0, [], threading.Event()

    def source() -> Iterator[int]:
        nonlocal taken
        for k in range(60):
            taken += 1
            yield k

    def work(k: int) -> int:
        gate.wait(10)
        return k

    threading.Timer(0.3, lambda: (seen.append(taken), gate.set())).start()
    assert list(in_background(source(), work, jobs=2, ahead=1000)) == list(range(60))
    assert seen[0] <= 2 * 2 + 1


def test_background_work_hands_errors_on_and_can_be_stopped() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise FerError("the source broke")

    with pytest.raises(FerError, match="the source broke"):
        list(in_background(source(), abs, jobs=2, ahead=2))
    with pytest.raises(ZeroDivisionError):
        list(in_background(iter([0]), lambda k: 1 / k, jobs=1, ahead=1))
    before = threading.active_count()
    endless = in_background(iter(lambda: 1, 2), abs, jobs=2, ahead=2)
    assert next(endless) == 1
    endless.close()
    assert threading.active_count() == before


def test_ctrl_c_keeps_what_is_written_and_ends_a_camera_in_peace(
    lively: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fer.use import sources, video
    from fer.use.items import Source

    class Camera:
        def __init__(self, *_: Any) -> None:
            self.left = 3

        def isOpened(self) -> bool:
            return True

        def get(self, _: int) -> float:
            return 100.0

        def grab(self) -> bool:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt  # as if Ctrl-C were pressed now
            return True

        def retrieve(self) -> tuple[bool, Any]:
            return True, np.zeros((100, 100, 3), np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(video.cv2, "VideoCapture", Camera)
    output = tmp_path / "camera.csv"
    run(composed("predict", f"checkpoint={lively}", "input=0", f"output={output}"), Call("", (), None))
    assert pd.read_csv(output)["path"].tolist() == ["camera 0"] * 3

    def stopped(word: str, every: int) -> Source:
        def items() -> Iterator[Item]:
            yield Item("b.png", folder / "b.png")
            raise KeyboardInterrupt

        return Source(items(), 2)

    monkeypatch.setattr(sources, "open_source", stopped)
    typed = (f"checkpoint={lively}", "input=x", f"output={tmp_path / 'half.csv'}", "batch_size=1")
    with pytest.raises(KeyboardInterrupt):
        run(composed("predict", *typed), Call("", (), None))
    assert len(pd.read_csv(tmp_path / "half.csv")) == 1 and "stopped after 1 pictures" in caplog.text


def test_a_vast_picture_is_refused_without_a_warning_of_pillow(lively: Path, tmp_path: Path) -> None:
    Image.new("1", (10_000, 10_000)).save(tmp_path / "vast.png")
    ended = run_command("fer.predict", f"checkpoint={lively}", f"input={tmp_path / 'vast.png'}", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.endswith("10000 x 10000 pixels are more than the limit of 64,000,000\n")
    assert ended.stderr.count("\n") == 1


def test_help_and_mistakes_are_answered_without_torch(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['cv2'] = None; "
        "sys.argv = ['fer.predict', *sys.argv[1:]]; runpy.run_module('fer.predict', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "checkpoint=x", "imput=y"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (
        done.returncode == 2
        and done.stderr
        == "fer predict: imput: no such key; did you mean input? " + (done.stderr.partition("did you mean input? ")[2])
    )


def test_boxes_outside_of_the_picture_count_as_not_given(folder: Path, lively: Path) -> None:
    from fer import load

    (face,) = load(lively).predict(folder / "b.png", boxes=[Box(5000, 5000, 10, 10)])
    assert face.how == "detector"
