"""The CK+ reader on hand-made trees: every known oddity of the copies in circulation has an assertion here."""

import os
from pathlib import Path

import pandas as pd
import pytest

from fer.data import ckplus, ckplus_labels
from fer.data.samples import Samples, au_columns
from fer.errors import FerError

IMAGES = "cohn-kanade-images"


def put(root: Path, name: str, text: str = "") -> Path:
    """Writes `text` to `root/name`; the readers open no image, so an image may be an empty file."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def add_sequence(
    root: Path,
    subject: str = "S005",
    sequence: str = "001",
    n_frames: int = 11,
    facs: str | None = "   1.0000000e+00   3.0000000e+00\n   1.2000000e+01   0.0000000e+00\n",
    emotion: str | None = "   3.0000000e+00\n",
    images: str = IMAGES,
) -> None:
    """A sequence as CK+ has it; its labels name the last frame."""
    stem = f"{subject}/{sequence}/{subject}_{sequence}"
    for frame in range(1, n_frames + 1):
        put(root, f"{images}/{stem}_{frame:08d}.png")
    if facs is not None:
        put(root, f"FACS/{stem}_{n_frames:08d}_facs.txt", facs)
    if emotion is not None:
        put(root, f"Emotion/{stem}_{n_frames:08d}_emotion.txt", emotion)


def only_row(samples: Samples) -> pd.Series:
    assert len(samples.table) == 1
    return samples.table.iloc[0]


def test_a_sequence_becomes_its_peak_with_all_labels(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    landmarks = put(tmp_path, "Landmarks/S005/001/S005_001_00000011_landmarks.txt", "1 2\n")
    samples = ckplus.read(tmp_path, "peak")
    row = only_row(samples)
    assert row["path"] == str(tmp_path / IMAGES / "S005/001/S005_001_00000011.png")
    assert (row["subject"], row["sequence"], row["frame"], row["emotion"]) == ("S005", "001", 11, "disgust")
    assert row["landmarks"] == str(landmarks)
    assert samples.skipped.counts() == {}


def test_folders_of_one_person_are_one_however_many_zeros_they_have(tmp_path: Path) -> None:
    add_sequence(tmp_path, subject="S005", facs=None, emotion=None)
    put(tmp_path, "Emotion/S0005/001/S0005_001_00000011_emotion.txt", "   3.0000000e+00\n")
    row = only_row(ckplus.read(tmp_path, "peak"))
    assert (row["subject"], row["emotion"]) == ("S005", "disgust")


def test_a_listed_au_is_present_also_with_intensity_0_which_is_no_grade(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    row = only_row(ckplus.read(tmp_path, "peak"))
    assert (row["AU1"], row["AU12"]) == (1, 1)
    assert row["AU1_intensity"] == 3
    assert "AU12_intensity" not in row or pd.isna(row["AU12_intensity"])


def test_an_au_not_listed_is_0_and_a_sequence_without_facs_file_has_none(tmp_path: Path) -> None:
    add_sequence(tmp_path, sequence="001", facs="4 2\n")
    add_sequence(tmp_path, sequence="002", facs="12 5\n")
    add_sequence(tmp_path, sequence="003", facs=None)
    table = ckplus.read(tmp_path, "peak").table.set_index("sequence")
    assert au_columns(table) == ["AU4", "AU12"]
    assert list(table.loc["001", ["AU4", "AU12"]]) == [1, 0]
    assert list(table.loc["002", ["AU4", "AU12"]]) == [0, 1]
    assert table.loc["003", ["AU4", "AU12"]].isna().all()


def test_an_empty_facs_file_is_a_coding_without_any_au(tmp_path: Path) -> None:
    add_sequence(tmp_path, sequence="001")
    add_sequence(tmp_path, sequence="002", facs="\n  \n", emotion=None)
    table = ckplus.read(tmp_path, "peak").table.set_index("sequence")
    assert list(table.loc["002", ["AU1", "AU12"]]) == [0, 0]


def test_a_facs_file_without_a_byte_is_a_broken_one(tmp_path: Path) -> None:
    add_sequence(tmp_path, sequence="001")
    add_sequence(tmp_path, sequence="002", facs="")
    samples = ckplus.read(tmp_path, "peak")
    assert samples.table.set_index("sequence").loc["002", ["AU1", "AU12"]].isna().all()
    assert samples.skipped.counts() == {"malformed FACS file": 1}


@pytest.mark.parametrize(("last", "labelled"), [(1, False), (8, False), (9, True), (10, True)])
def test_labels_of_a_peak_that_is_gone_go_to_no_frame_far_from_it(tmp_path: Path, last: int, labelled: bool) -> None:
    add_sequence(tmp_path, sequence="001")
    add_sequence(tmp_path, sequence="002")
    for frame in range(last + 1, 12):
        (tmp_path / IMAGES / f"S005/002/S005_002_{frame:08d}.png").unlink()
    samples = ckplus.read(tmp_path, "peak")
    assert len(samples.table) == 1 + labelled
    lost = {ckplus.NO_PEAK: 2, ckplus.NO_LABEL: 1}
    assert samples.skipped.counts() == ({} if labelled else lost)


@pytest.mark.parametrize("frames", ["peak3", "neutral+peak3"])
def test_a_copy_that_begins_late_has_no_neutral_frame(tmp_path: Path, frames: str) -> None:
    add_sequence(tmp_path)
    for frame in range(1, 9):
        (tmp_path / IMAGES / f"S005/001/S005_001_{frame:08d}.png").unlink()
    samples = ckplus.read(tmp_path, frames, reference=True)
    assert samples.table["frame"].tolist() == [9, 10, 11] and set(samples.table["emotion"]) == {"disgust"}
    assert "reference" not in samples.table and samples.skipped.counts() == {ckplus.NO_FIRST: 1}


def test_every_emotion_code_has_its_name_and_no_file_means_no_label(tmp_path: Path) -> None:
    for code in range(8):
        add_sequence(tmp_path, sequence=f"{code + 1:03d}", emotion=f"   {code}.0000000e+00\n\n")
    add_sequence(tmp_path, sequence="009", emotion=None)
    emotions = ckplus.read(tmp_path, "peak").table["emotion"]
    expected = ["neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"]
    assert emotions[:8].tolist() == expected
    assert pd.isna(emotions[8])


def test_only_facs_or_only_emotion_is_enough(tmp_path: Path) -> None:
    add_sequence(tmp_path / "facs", emotion=None)
    add_sequence(tmp_path / "emotion", facs=None)
    facs, emotion = (only_row(ckplus.read(tmp_path / kind, "peak")) for kind in ("facs", "emotion"))
    assert facs["AU1"] == 1 and pd.isna(facs["emotion"])
    assert emotion["emotion"] == "disgust" and "AU1" not in emotion


@pytest.mark.parametrize("frames", ckplus.FRAMES)
def test_without_facs_there_are_no_au_columns_for_any_frame(tmp_path: Path, frames: str) -> None:
    add_sequence(tmp_path, facs=None)
    assert au_columns(ckplus.read(tmp_path, frames).table) == []


def test_folders_are_found_two_levels_down_whatever_their_case(tmp_path: Path) -> None:
    add_sequence(tmp_path / "work")
    for folder, parent in (
        (IMAGES, "extended-cohn-kanade-images"),
        ("FACS", "FACS_labels"),
        ("Emotion", "Emotion_labels"),
    ):
        (tmp_path / "ck" / parent).mkdir(parents=True)
        (tmp_path / "work" / folder).rename(tmp_path / "ck" / parent / folder.upper())
    put(tmp_path, "ck/Landmarks/Landmarks/S005/001/S005_001_00000011_landmarks.txt")
    row = only_row(ckplus.read(tmp_path / "ck", "peak"))
    assert row["emotion"] == "disgust" and row["AU1"] == 1
    assert "Landmarks/Landmarks" in row["landmarks"]


def test_labels_unzipped_without_their_inner_folder_are_found(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    (tmp_path / "FACS").rename(tmp_path / "FACS_labels")
    (tmp_path / "Emotion").rename(tmp_path / "Emotion_labels")
    row = only_row(ckplus.read(tmp_path, "peak"))
    assert row["emotion"] == "disgust" and row["AU1"] == 1


def test_a_folder_of_labels_under_another_name_is_named(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    (tmp_path / "FACS").rename(tmp_path / "FACS-codes")
    samples = ckplus.read(tmp_path, "peak")
    assert samples.table["emotion"].tolist() == ["disgust"]
    assert samples.skipped.items[ckplus.UNKNOWN_FOLDER] == ["FACS-codes"]


def test_a_second_copy_of_a_folder_is_left_out_and_counted(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    add_sequence(tmp_path, subject="S010", images=f"old/{IMAGES}", facs=None, emotion=None)
    samples = ckplus.read(tmp_path, "peak")
    assert samples.table["subject"].tolist() == ["S005"]
    assert samples.skipped.items == {ckplus.SECOND_FOLDER: [f"old/{IMAGES}"]}


def test_the_shadow_tree_that_macos_zips_carry_is_not_taken_for_the_data(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    put(tmp_path, f"__MACOSX/{IMAGES}/S005/001/._S005_001_00000011.png")
    assert only_row(ckplus.read(tmp_path, "peak"))["frame"] == 11


def test_junk_is_left_out_and_counted_by_reason(tmp_path: Path) -> None:
    add_sequence(tmp_path, n_frames=2)
    for name in (".DS_Store", "S005/.DS_Store", "S005/001/Thumbs.db", "S005/001/._S005_001_00000002.png"):
        put(tmp_path / IMAGES, name)
    strays = (
        "readme.txt",
        "resized/S005_001_00000002.png",
        "S005/001/S005_001_00000002_48x48.png",
        "S005/001/S005_001_00000002 copy.png",
        "S005/001/S005_001_00000002.txt",
        "S005/001/small/S005_001_00000002.png",
    )
    for name in strays:
        put(tmp_path / IMAGES, name)
    put(tmp_path / IMAGES, "S005/001/S010_001_00000007.png")
    put(tmp_path / IMAGES, "S005/001/S005_001_00000002.jpg")
    samples = ckplus.read(tmp_path, "peak")
    assert only_row(samples)["path"].endswith("S005_001_00000002.png")
    assert samples.skipped.counts() == {
        ckplus.OTHER_FILE: len(strays),
        ckplus.SYSTEM_FILE: 4,
        ckplus.OTHER_SEQUENCE: 1,
        ckplus.SECOND_FILE: 1,
    }
    assert samples.skipped.items[ckplus.OTHER_SEQUENCE] == [f"{IMAGES}/S005/001/S010_001_00000007.png"]


def test_the_case_of_names_and_extensions_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path, f"{IMAGES}/s005/001/s005_001_00000001.PNG")
    put(tmp_path, f"{IMAGES}/s005/001/S005_001_00000002.Png")
    put(tmp_path, "FACS/S005/001/s005_001_00000002_FACS.TXT", "1 1\n")
    row = only_row(ckplus.read(tmp_path, "peak"))
    assert (row["subject"], row["frame"], row["AU1"]) == ("S005", 2, 1)


@pytest.mark.parametrize("name", ["S0005_001_00000011_facs", "S005_001_00000009_facs", "S005_001_00000011"])
def test_a_label_named_slightly_wrong_belongs_to_the_sequence_it_lies_in(tmp_path: Path, name: str) -> None:
    add_sequence(tmp_path, facs=None)
    put(tmp_path, f"FACS/S005/001/{name}.txt", "1 1\n")
    samples = ckplus.read(tmp_path, "peak")
    assert only_row(samples)[["frame", "AU1"]].tolist() == [11, 1]
    assert samples.skipped.counts() == {}


def test_a_label_of_another_sequence_is_not_taken(tmp_path: Path) -> None:
    add_sequence(tmp_path, facs=None)
    put(tmp_path, "FACS/S005/001/S005_002_00000011_facs.txt", "1 1\n")
    samples = ckplus.read(tmp_path, "peak")
    assert "AU1" not in only_row(samples)
    assert samples.skipped.counts() == {ckplus.OTHER_SEQUENCE: 1}


def test_of_two_label_files_the_one_that_names_the_peak_counts(tmp_path: Path) -> None:
    add_sequence(tmp_path)
    put(tmp_path, "Emotion/S005/001/S005_001_00000012_emotion.txt", "5\n")
    samples = ckplus.read(tmp_path, "peak")
    assert only_row(samples)["emotion"] == "disgust"
    assert samples.skipped.counts() == {ckplus.SECOND_FILE: 1}


def test_empty_label_folders_are_nothing_and_unlabelled_sequences_are_counted(tmp_path: Path) -> None:
    add_sequence(tmp_path, sequence="001", emotion=None)
    (tmp_path / "Emotion/S005/001").mkdir(parents=True)
    add_sequence(tmp_path, sequence="002", facs=None, emotion=None)
    samples = ckplus.read(tmp_path, "peak")
    assert only_row(samples)["sequence"] == "001"
    assert samples.skipped.items == {ckplus.NO_LABEL: ["S005/002"]}


def test_folders_without_images_are_counted(tmp_path: Path) -> None:
    add_sequence(tmp_path, sequence="001")
    put(tmp_path, "Emotion/S005/002/S005_002_00000011_emotion.txt", "1\n")
    (tmp_path / "FACS/S010/001").mkdir(parents=True)
    (tmp_path / IMAGES / "S010/003").mkdir(parents=True)
    samples = ckplus.read(tmp_path, "peak")
    assert len(samples.table) == 1
    assert sorted(samples.skipped.items[ckplus.NO_IMAGES]) == ["emotion/S005/002", "facs/S010/001", "images/S010/003"]


@pytest.mark.parametrize("text", ["1.0 3.0\nx y\n", "1.0\n", "1 2 3\n", "4.5 1\n", "nan 1\n", "\0\0\0"])
def test_a_malformed_line_voids_its_facs_file(tmp_path: Path, text: str) -> None:
    add_sequence(tmp_path, sequence="001")
    add_sequence(tmp_path, sequence="002", facs=text)
    samples = ckplus.read(tmp_path, "peak")
    assert samples.table.set_index("sequence").loc["002", ["AU1", "AU12"]].isna().all()
    assert samples.skipped.items == {ckplus_labels.BAD_FACS: ["FACS/S005/002/S005_002_00000011_facs.txt"]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ckplus_labels.BAD_EMOTION),
        ("happy\n", ckplus_labels.BAD_EMOTION),
        ("1\n2\n", ckplus_labels.BAD_EMOTION),
        ("8.0\n", ckplus_labels.UNKNOWN_CODE),
        ("-1\n", ckplus_labels.UNKNOWN_CODE),
        ("2.5\n", ckplus_labels.UNKNOWN_CODE),
    ],
)
def test_an_emotion_that_is_none_is_missing_and_counted(tmp_path: Path, text: str, reason: str) -> None:
    add_sequence(tmp_path, emotion=text)
    samples = ckplus.read(tmp_path, "peak")
    assert pd.isna(only_row(samples)["emotion"])
    assert samples.skipped.counts() == {reason: 1}


def test_an_unknown_au_and_an_impossible_intensity_are_left_out_one_by_one(tmp_path: Path) -> None:
    add_sequence(tmp_path, facs="1 6\n2 -1\n4 2.5\n5 5\n99 1\n")
    samples = ckplus.read(tmp_path, "peak")
    row = only_row(samples)
    assert au_columns(samples.table) == ["AU1", "AU2", "AU4", "AU5"]
    assert row[["AU1", "AU2", "AU4", "AU5"]].tolist() == [1, 1, 1, 1]
    assert [c for c in samples.table.columns if c.endswith("_intensity") and pd.notna(row[c])] == ["AU5_intensity"]
    assert samples.skipped.counts() == {ckplus_labels.BAD_INTENSITY: 3, ckplus_labels.UNKNOWN_AU: 1}


def test_peak3_takes_the_last_three_but_never_the_first(tmp_path: Path) -> None:
    for sequence, n_frames in (("001", 11), ("002", 3), ("003", 2), ("004", 1)):
        add_sequence(tmp_path, sequence=sequence, n_frames=n_frames)
    table = ckplus.read(tmp_path, "peak3").table
    frames = table.groupby("sequence")["frame"].agg(list)
    assert frames.to_dict() == {"001": [9, 10, 11], "002": [2, 3], "003": [2], "004": [1]}
    assert set(table["emotion"]) == {"disgust"} and table["AU1"].eq(1).all()
    graded = table[table["AU1_intensity"].notna()].groupby("sequence")["frame"].agg(list)
    assert graded.to_dict() == {"001": [11], "002": [3], "003": [2], "004": [1]}


def test_neutral_is_the_first_frame_of_a_sequence_that_has_a_second(tmp_path: Path) -> None:
    add_sequence(tmp_path, sequence="001", n_frames=11)
    add_sequence(tmp_path, sequence="002", n_frames=2, facs=None)
    add_sequence(tmp_path, sequence="003", n_frames=1)
    put(tmp_path, "Landmarks/S005/001/S005_001_00000001_landmarks.txt")
    table = ckplus.read(tmp_path, "neutral+peak3").table
    neutral = table[table["emotion"] == "neutral"]
    assert neutral[["sequence", "frame", "AU1", "AU12"]].to_numpy().tolist() == [["001", 1, 0, 0], ["002", 1, 0, 0]]
    assert neutral["AU1_intensity"].isna().all()
    assert neutral["landmarks"].notna().tolist() == [True, False]
    assert table.groupby("sequence").size().to_dict() == {"001": 4, "002": 2, "003": 1}


def test_colour_and_frame_gaps_make_no_difference(tmp_path: Path) -> None:
    for frame in (1, 4, 26):
        put(tmp_path, f"{IMAGES}/S501/001/S501_001_{frame:08d}.tiff")
    put(tmp_path, "Emotion/S501/001/S501_001_00000026_emotion.txt", "5\n")
    assert ckplus.read(tmp_path, "peak3").table["frame"].tolist() == [4, 26]


def test_what_is_wrong_with_a_root_is_said_in_one_line(tmp_path: Path) -> None:
    add_sequence(tmp_path / "unlabelled", facs=None, emotion=None)
    (tmp_path / "empty" / IMAGES).mkdir(parents=True)
    file = put(tmp_path, "file")
    cases = {
        tmp_path / "nowhere": "does not exist",
        file: "is a file",
        tmp_path / "empty" / IMAGES: "no folder cohn-kanade-images",
        tmp_path / "empty": "no image",
        tmp_path / "unlabelled": "no readable label",
        tmp_path / "unlabelled" / IMAGES: f"try data.root={tmp_path / 'unlabelled'}",
    }
    for root, message in cases.items():
        with pytest.raises(FerError, match=message) as caught:
            ckplus.read(root, "peak")
        assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_an_unknown_choice_of_frames_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neutral"):
        ckplus.read(tmp_path, "all")


@pytest.mark.skipif(
    "FER_EXTRA_DATA" not in os.environ, reason="needs the folder of the extra data sets in FER_EXTRA_DATA"
)
def test_the_rendered_set_has_the_counts_of_its_readme() -> None:
    samples = ckplus.read(Path(os.environ["FER_EXTRA_DATA"]) / "ict-faces", "peak")
    counts = {1: 107, 2: 83, 4: 97, 5: 65, 6: 52, 7: 62, 9: 31, 10: 10, 12: 51, 14: 10, 15: 28, 16: 7, 17: 84, 18: 1}
    counts |= {20: 21, 23: 28, 24: 28, 25: 114, 26: 21, 27: 38, 43: 1}
    assert {c: int(samples.table[c].sum()) for c in au_columns(samples.table)} == {
        f"AU{k}": n for k, n in counts.items()
    }
    assert len(samples.table) == 283 and samples.table["emotion"].notna().sum() == 157
    assert samples.skipped.counts() == {ckplus.SYSTEM_FILE: 7, ckplus.NO_LABEL: 1}
