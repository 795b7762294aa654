"""Pixels are made once, by one process, parallel to the table; whatever was interrupted or changed is made again."""

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fer.data import cache, faces, images, store
from fer.data.cache import build_pixels, default_cache_dir
from fer.data.synthetic.tree import cached_tree
from fer.errors import FerError
from fer.runs.surroundings import usable_cores

N = 12
SETTINGS = {"image_size": 28, "crop": "full", "color": False}


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """`N` flat pictures in no order; number 3 is no picture, number 5 is missing, number `i` has grey 10 i."""
    names = np.random.default_rng(0).permutation(N)
    paths = []
    for i, name in enumerate(names):
        paths.append(tmp_path / f"{name:03}.png")
        Image.new("L", (20, 30), 10 * i).save(paths[-1])
    paths[3].write_text("no picture")
    paths[5].unlink()
    return pd.DataFrame({"path": pd.Series([str(p) for p in paths], dtype="string"), "subject": "S1"})


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(store, "_in_use", set())
    return tmp_path / "cache"


def stored(cache_dir: Path) -> list[Path]:
    return sorted(path.parent for path in cache_dir.glob("pixels/*/pixels.npy"))


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "decode", lambda path: pytest.fail(f"{path} was opened"))


def test_rows_are_parallel_to_the_table_and_broken_ones_are_marked(table: pd.DataFrame, cache_dir: Path) -> None:
    done = []
    pixels = build_pixels(table, cache_dir=cache_dir, jobs=3, progress=lambda *now: done.append(now), **SETTINGS)
    assert pixels.array.shape == (N, 32, 32, 1) and pixels.array.dtype == np.uint8
    fine = [i for i in range(N) if i not in (3, 5)]
    for i in range(N):
        assert (pixels.array[i] == (10 * i if i in fine else 0)).all()
    assert pixels.how.tolist() == ["whole" if i in fine else "broken" for i in range(N)]
    assert (pixels.boxes[fine] == [0, 0, 20, 30]).all() and np.isnan(pixels.boxes[[3, 5]]).all()
    assert set(pixels.problems) == {3, 5}
    assert table["path"][3] in pixels.problems[3] and "no such file" in pixels.problems[5]
    assert done == [(i + 1, N) for i in range(N)]


def test_pixels_are_those_of_face_pixels(table: pd.DataFrame, cache_dir: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "noise.png")
    points = rng.uniform(10, 50, (68, 2)).round(3)
    np.savetxt(tmp_path / "points.txt", points)
    (tmp_path / "bad.txt").write_text("none")
    rows = pd.DataFrame(
        {
            "path": str(tmp_path / "noise.png"),
            "landmarks": [str(tmp_path / "points.txt"), str(tmp_path / "bad.txt"), pd.NA],
        }
    )
    rows = rows.assign(
        **{c: pd.array([v, v, pd.NA], dtype="Float64") for c, v in zip("xywh", (10, 12.5, 30, 40), strict=True)}
    )
    pixels = build_pixels(rows, image_size=28, crop="face", color=True, cache_dir=cache_dir)
    given = [(points, None), (None, faces.Box(10, 12.5, 30, 40)), (None, None)]
    for row, (landmarks, box) in enumerate(given):
        expected, found, how = faces.face_pixels(image, 28, "face", True, landmarks, box)
        np.testing.assert_array_equal(pixels.array[row], expected)
        assert pixels.how[row] == how and pixels.boxes[row].tolist() == list(found)
    assert pixels.how[:2].tolist() == ["landmarks", "box"]


def test_files_that_change_names_are_read_again(tmp_path: Path, cache_dir: Path) -> None:
    one, other = tmp_path / "a.bmp", tmp_path / "b.bmp"
    for path, grey in ((one, 20), (other, 200)):
        Image.new("L", (40, 40), grey).save(path)
        os.utime(path, ns=(0, 0))  # as some archives have it
    table = pd.DataFrame({"path": [str(one), str(other)]})
    assert build_pixels(table, cache_dir=cache_dir, **SETTINGS).array[:, 0, 0, 0].tolist() == [20, 200]
    one.rename(tmp_path / "c.bmp")
    other.rename(one)
    (tmp_path / "c.bmp").rename(other)
    assert build_pixels(table, cache_dir=cache_dir, **SETTINGS).array[:, 0, 0, 0].tolist() == [200, 20]


def test_second_build_opens_no_picture(table: pd.DataFrame, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    no_decoding(monkeypatch)
    second = build_pixels(table, cache_dir=cache_dir, jobs=1, **SETTINGS)
    np.testing.assert_array_equal(first.array, second.array)
    assert second.problems == first.problems and second.how.tolist() == first.how.tolist()


@pytest.mark.parametrize("failure", [OSError(errno.EIO, "Input/output error"), MemoryError()])
def test_what_a_machine_could_not_read_once_is_read_again(
    table: pd.DataFrame, cache_dir: Path, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(images, "_rgb", lambda image, inverted: (_ for _ in ()).throw(failure))
        assert len(build_pixels(table, cache_dir=cache_dir, **SETTINGS).problems) == N
    again = build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert set(again.problems) == {3, 5}
    no_decoding(monkeypatch)  # what is wrong with those stays so
    assert build_pixels(table, cache_dir=cache_dir, **SETTINGS).problems == again.problems


def test_landmarks_that_a_machine_could_not_read_once_are_read_again(
    table: pd.DataFrame, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tmp_path / "points.txt"
    points.write_text("".join(f"{5 + k % 9} {8 + k % 7}\n" for k in range(68)))
    table = table.assign(landmarks=str(points))

    def away(path: Path) -> str:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(faces, "read_small", away)
        first = build_pixels(table, cache_dir=cache_dir, **{**SETTINGS, "crop": "face"})
        assert len(first.problems) == N  # not cut in another way
    again = build_pixels(table, cache_dir=cache_dir, **{**SETTINGS, "crop": "face"})
    assert set(again.problems) == {3, 5} and (again.how[[0, 1, 2]] == "landmarks").all()


def test_a_picture_that_stays_unreadable_costs_the_others_nothing(
    table: pd.DataFrame, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, decode = [], cache.decode

    def refused(path: Path) -> np.ndarray:
        opened.append(path)
        if str(path) == table["path"][0]:
            raise images.BadImage(f"{path}: permission denied", passing=True)
        return decode(path)

    monkeypatch.setattr(cache, "decode", refused)
    first = build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert set(first.problems) == {0, 3, 5} and len(opened) == N
    assert build_pixels(table, cache_dir=cache_dir, **SETTINGS).problems == first.problems
    assert len(opened) == N + 1


@pytest.mark.parametrize(
    "change", ["picture", "touched", "order", "image_size", "crop", "color", "version", "library", "box", "landmarks"]
)
def test_whatever_pixels_depend_on_makes_new_ones(
    table: pd.DataFrame, cache_dir: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = tmp_path / "points.txt"
    points.write_text("1 2\n")
    table = table.assign(x=1.0, y=1.0, w=9.0, h=9.0, landmarks=str(points))
    build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    settings = dict(SETTINGS)
    if change == "picture":
        Image.new("L", (20, 30), 255).save(table["path"][0])
    elif change == "touched":
        os.utime(table["path"][1], ns=(1, 1))
    elif change == "order":
        table = table[::-1].reset_index(drop=True)
    elif change == "version":
        monkeypatch.setattr(cache, "PIXELS_VERSION", 0)
    elif change == "library":
        monkeypatch.setattr("cv2.__version__", "5")
    elif change == "box":
        table = table.assign(w=9.5)
    elif change == "landmarks":
        points.write_text("1 2\n3 4\n")
    else:
        settings |= (
            {"image_size": 35} if change == "image_size" else {"crop": "face"} if change == "crop" else {"color": True}
        )
    pixels = build_pixels(table, cache_dir=cache_dir, **settings)
    assert len(stored(cache_dir)) == 2
    if change == "picture":
        assert (pixels.array[0] == 255).all()


def test_array_is_a_read_only_map_and_travels_by_name(table: pd.DataFrame, cache_dir: Path) -> None:
    pixels = build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert isinstance(pixels.array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        pixels.array[0] = 1
    parcel = pickle.dumps(pixels)
    assert len(parcel) < 1000 < pixels.array.nbytes
    np.testing.assert_array_equal(pickle.loads(parcel).array, pixels.array)
    np.load(pixels.folder / "pixels.npy", allow_pickle=False)
    assert set(json.loads((pixels.folder / "problems.json").read_text())) == {"3", "5"}


def build_while_another_does(table: pd.DataFrame, cache_dir: Path, opened: Path, start: Barrier) -> None:
    decode = cache.decode

    def noted(path: Path) -> np.ndarray:
        with opened.open("a") as file:
            file.write(f"{path}\n")
        time.sleep(0.02)
        return decode(path)

    cache.decode = noted
    start.wait()
    assert build_pixels(table, cache_dir=cache_dir, jobs=1, **SETTINGS).array[1, 0, 0, 0] == 10


def build_and_die(table: pd.DataFrame, cache_dir: Path) -> None:
    build_pixels(table, cache_dir=cache_dir, jobs=1, progress=lambda n, total: n == 5 and os._exit(9), **SETTINGS)


def test_two_processes_do_the_work_once(table: pd.DataFrame, cache_dir: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, opened = context.Barrier(2), tmp_path / "opened.txt"
    both = [context.Process(target=build_while_another_does, args=(table, cache_dir, opened, start)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(opened.read_text().splitlines()) == sorted(table["path"])


def test_a_killed_build_is_not_taken_for_a_whole_one(table: pd.DataFrame, cache_dir: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=build_and_die, args=(table, cache_dir))
    process.start()
    process.join()
    assert process.exitcode == 9
    assert len(list(cache_dir.glob("pixels/*.tmp"))) == 1
    pixels = build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert (pixels.array[N - 1] == 10 * (N - 1)).all()
    assert not list(cache_dir.glob("pixels/*.tmp"))


@pytest.mark.parametrize("file", ["pixels.npy", "how.npy", "boxes.npy", "problems.json"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "gone"])
def test_a_damaged_cache_is_made_again(table: pd.DataFrame, cache_dir: Path, file: str, damage: str) -> None:
    path = build_pixels(table, cache_dir=cache_dir, **SETTINGS).folder / file
    if damage != "gone":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if damage == "cut" else 0])
    else:
        path.unlink()
    assert (build_pixels(table, cache_dir=cache_dir, **SETTINGS).array[7] == 70).all()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("how.npy", np.full(N, 200, np.uint8)),
        ("how.npy", np.zeros(N)),
        ("boxes.npy", np.zeros((N - 1, 4))),
        ("pixels.npy", np.zeros((N - 1, 1, 1, 1), np.uint8)),
        ("problems.json", "[]"),
        ("passing.json", "[9999]"),
        ("passing.json", '{"a": 1}'),
    ],
)
def test_a_cache_of_other_content_is_made_again(
    table: pd.DataFrame, cache_dir: Path, file: str, content: np.ndarray | str
) -> None:
    path = build_pixels(table, cache_dir=cache_dir, **SETTINGS).folder / file
    path.write_text(content) if isinstance(content, str) else np.save(path, content)
    again = build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert (again.array[7] == 70).all() and set(again.problems) == {3, 5}


def test_a_failed_build_leaves_nothing(table: pd.DataFrame, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "face_pixels", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert not [path for path in cache_dir.rglob("*") if path.is_dir() and path.name != "pixels"]


def aged(folder: Path, days: float) -> Path:
    then = time.time() - days * 86400
    os.utime(folder / store.MARK, (then, then))
    return folder


def three_caches(table: pd.DataFrame, cache_dir: Path) -> list[Path]:
    return [build_pixels(table, cache_dir=cache_dir, **SETTINGS | {"image_size": s}).folder for s in (14, 21, 28)]


def test_the_bound_removes_the_least_recently_used(table: pd.DataFrame, cache_dir: Path) -> None:
    one, two, three = three_caches(table, cache_dir)
    store._in_use.clear()
    aged(one, 3), aged(two, 5), aged(three, 4)
    foreign = cache_dir / "other" / "folder"
    foreign.mkdir(parents=True)
    new_bytes = N * 40 * 40
    room = new_bytes + sum(p.stat().st_size for folder in (one, three) for p in folder.iterdir())
    new = build_pixels(table, cache_dir=cache_dir, max_bytes=room, **SETTINGS | {"image_size": 35}).folder
    assert stored(cache_dir) == sorted([one, three, new])
    build_pixels(table, cache_dir=cache_dir, max_bytes=0, **SETTINGS | {"image_size": 42})
    assert new in stored(cache_dir) and one not in stored(cache_dir) and foreign.exists()


def test_the_bound_spares_what_is_used(table: pd.DataFrame, cache_dir: Path) -> None:
    mine, recent, again = three_caches(table, cache_dir)
    store._in_use.clear()
    store._in_use.add(mine)
    aged(mine, 9), aged(recent, 0.9), aged(again, 9)
    build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    store._in_use.discard(again)
    build_pixels(table, cache_dir=cache_dir, max_bytes=0, **SETTINGS | {"image_size": 35})
    assert {mine, recent, again} <= set(stored(cache_dir))


def test_the_bound_spares_what_another_process_holds(table: pd.DataFrame, cache_dir: Path) -> None:
    held, *_ = three_caches(table, cache_dir)
    store._in_use.clear()
    aged(held, 9)
    with store._locked(held):
        build_pixels(table, cache_dir=cache_dir, max_bytes=0, **SETTINGS | {"image_size": 35})
    assert held in stored(cache_dir)


def test_drawn_sets_count_and_go_like_other_caches(table: pd.DataFrame, cache_dir: Path) -> None:
    drawn = cached_tree(cache_dir, 1, frames=2, jobs=1)
    assert (drawn, True) in [(folder, size > 1000) for _, size, folder in store._stored(cache_dir)]
    store._in_use.clear()
    aged(drawn, 9)
    build_pixels(table, cache_dir=cache_dir, max_bytes=0, **SETTINGS)
    assert not drawn.exists() and cached_tree(cache_dir, 1, frames=2, jobs=1).is_dir()


@pytest.mark.parametrize("when", ["before", "while writing"])
def test_a_full_disk_is_an_error_that_names_cache_dir(
    table: pd.DataFrame, cache_dir: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if when == "before":
        usage = shutil.disk_usage(cache_dir.parent)
        monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    else:
        monkeypatch.setattr(cache.np, "save", full)
    with pytest.raises(FerError, match=rf"cache_dir={cache_dir}: the disk has no room for"):
        build_pixels(table, cache_dir=cache_dir, **SETTINGS)
    assert not stored(cache_dir) and not list(cache_dir.glob("pixels/*.tmp"))


def test_a_cache_dir_that_cannot_be_one(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FerError, match=r"cache_dir=.*file: can't be used"):
        build_pixels(table, cache_dir=tmp_path / "file", **SETTINGS)


def test_default_cache_dir_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if os.name == "posix" and os.uname().sysname == "Linux":
        assert default_cache_dir() == tmp_path / "fer"
    assert usable_cores() >= 1
