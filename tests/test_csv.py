"""The table reader: which columns it takes, what it refuses with which line, and what it leaves out."""

import logging
import os
from pathlib import Path

import pandas as pd
import pytest

from fer.data import csv, csv_labels
from fer.data.samples import NOT_FOUND, OUTSIDE_ROOT, REFERENCE_BOX_COLUMNS, au_columns, fingerprint
from fer.errors import FerError

PLAIN = "path,subject,emotion\na.png,010,happy\nb.png,011,sadness\n"


def test_what_is_not_read_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    csv.read(table_of(tmp_path, "path,subject,AU1,Emotions,x1\na.png,p,1,happy,3\n"), None, "subject")
    assert "columns that are not read: Emotions, x1" in caplog.text


def test_rows_that_are_short_or_take_in_others_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = 'path,subject,AU1,notes\na.png,p,1\n\nb.png,q,0,"smile\nc.png,r,1,ok"\nd.png,s,1,\n'
    samples = csv.read(table_of(tmp_path, text, "a.png b.png d.png"), None, "subject")
    assert len(samples.table) == 3
    assert "1 rows have fewer cells than its header, the first in line 2" in caplog.text
    assert "1 rows have cells with line breaks, the first in line 4" in caplog.text


def test_a_coarse_emotion_of_another_kind_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (
        "path,subject,emotion,high_level_emotion\na.png,p,happy,positive\nb.png,q,happy,negative\nc.png,r,,negative\n"
    )
    samples = csv.read(table_of(tmp_path, text), None, "subject")
    assert samples.table["emotion"].tolist() == ["happy", "happy", "negative"]
    assert "1 rows whose high-level emotion is not that of their emotion, the first in line 3" in caplog.text


def test_the_column_with_paths_comes_before_one_that_may_hold_numbers(tmp_path: Path) -> None:
    text = "image,image_path,subject,AU1\n0,a.png,p,1\n"
    assert csv.read(table_of(tmp_path, text), None, "subject").table["path"].tolist() == [str(tmp_path / "a.png")]


def table_of(
    folder: Path, text: str, images: str = "a.png b.png c.png", name: str = "labels.csv", encoding: str = "utf-8"
) -> Path:
    """Writes the table and, beside it, an empty file for each of `images`: the reader opens none."""
    for image in images.split():
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).touch()
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def refusal(table: Path, root: Path | None = None, subject: str = "subject") -> str:
    """The one line of the error that the table ends in."""
    with pytest.raises(FerError) as caught:
        csv.read(table, root, subject)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_ids_keep_their_zeros_and_paths_start_at_the_table(tmp_path: Path) -> None:
    samples = csv.read(table_of(tmp_path, PLAIN), None, "subject")
    assert samples.table["subject"].tolist() == ["010", "011"]
    assert samples.table["path"].tolist() == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    assert samples.table["emotion"].tolist() == ["happy", "sadness"]
    assert samples.skipped.counts() == {}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separator_and_byte_order_mark_are_recognised(tmp_path: Path, separator: str, encoding: str) -> None:
    table = table_of(tmp_path, PLAIN.replace(",", separator), encoding=encoding)
    assert len(csv.read(table, None, "subject").table) == 2


def test_windows_line_ends_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    text = "path,subject,emotion\r\n\r\na.png, 010 ,happy\r\nb.png,011,smug\r\n\r\n"
    message = refusal(table_of(tmp_path, text))
    assert "line 4" in message and "'smug'" in message


def test_blank_lines_before_the_header_are_counted(tmp_path: Path) -> None:
    text = "\n \npath,subject,emotion\na.png,1,happy\nb.png,2,smug\n"
    assert "line 5" in refusal(table_of(tmp_path, text))
    assert len(csv.read(table_of(tmp_path, text.replace("smug", "happy")), None, "subject").table) == 2


def test_a_missing_sequence_in_words_is_none(tmp_path: Path) -> None:
    text = "path,subject,emotion,sequence\na.png,1,happy,NA\nb.png,1,happy,007\n"
    assert csv.read(table_of(tmp_path, text), None, "subject").table["sequence"].tolist() == [pd.NA, "007"]


def test_a_cell_with_line_breaks_moves_no_line_number(tmp_path: Path) -> None:
    text = 'path,subject,emotion,note\na.png,1,happy,"two\nlines"\n\nb.png,2,smug,\n'
    assert "line 5: column emotion is 'smug'" in refusal(table_of(tmp_path, text))


@pytest.mark.parametrize("name", [*csv.PATH_COLUMNS, "FilePath"])
def test_the_path_column_may_have_any_usual_name(tmp_path: Path, name: str) -> None:
    table = table_of(tmp_path, PLAIN.replace("path,", f"{name},"))
    assert csv.read(table, None, "subject").table["path"].iloc[0] == str(tmp_path / "a.png")


@pytest.mark.parametrize("column", ["emotion", "high_level_emotion", "Expression", "label"])
def test_emotions_are_normalised_and_empty_ones_stay_missing(tmp_path: Path, column: str) -> None:
    text = f"path,subject,{column},AU1\na.png,1,Happiness,1\nb.png,2,,0\nc.png,3,nan,1\n"
    emotions = csv.read(table_of(tmp_path, text), None, "subject").table["emotion"]
    assert emotions[0] == "happy" and emotions[1:].isna().all()


def test_au_columns_are_recognised_and_empty_cells_are_missing_not_0(tmp_path: Path) -> None:
    text = "path,subject,AU12,au01,AU04_intensity,AU4,AU99,AUthor\na.png,1,1,0.0,3,1,1,x\nb.png,2,,1,0,0,1,y\n"
    samples = csv.read(table_of(tmp_path, text), None, "subject")
    table = samples.table
    assert au_columns(table) == ["AU1", "AU4", "AU12"]
    assert table["AU1"].tolist() == [0, 1] and table["AU12"][0] == 1 and pd.isna(table["AU12"][1])
    assert table["AU4_intensity"][0] == 3 and pd.isna(table["AU4_intensity"][1])
    assert samples.skipped.items == {csv_labels.UNKNOWN_AU: ["AU99"]}


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("emotion", "smug", ["line 3", "emotion", "'smug'", "anger", "neutral"]),
        ("AU12", "7", ["line 3", "AU12", "'7'", "0, 1 or empty"]),
        ("AU12", "-1", ["line 3", "AU12", "'-1'"]),
        ("AU12", "0.5", ["line 3", "AU12", "'0.5'"]),
        ("AU12", "yes", ["line 3", "AU12", "'yes'"]),
        ("AU12", "3", ["line 3", "AU12", "'3'", "look like intensities", "AU<n>_intensity"]),
        ("AU1,AU1_intensity", "1,6", ["line 3", "AU1_intensity", "'6'", "0 to 5"]),
        ("AU1,AU1_intensity", "1,2.5", ["line 3", "AU1_intensity", "'2.5'"]),
        ("AU1,frame", "1,2.5", ["line 3", "frame", "'2.5'"]),
        ("AU1,x,y,w,h", "1,3,4,5,", ["line 3", "x, y, w, h"]),
        ("AU1,x,y,w,h", "1,3,4,0,5", ["line 3", "column w"]),
        ("AU1,x,y,w,h", "1,3,4,wide,5", ["line 3", "column w", "'wide'"]),
    ],
)
def test_a_value_out_of_range_names_file_line_column_and_what_is_allowed(
    tmp_path: Path, header: str, row: str, expected: list[str]
) -> None:
    empty = "," * header.count(",")
    table = table_of(tmp_path, f"path,subject,{header}\na.png,1,{empty}\nb.png,2,{row}\n")
    message = refusal(table)
    assert str(table) in message
    assert [part for part in expected if part not in message] == []


def test_sequence_frame_box_and_landmarks_are_kept(tmp_path: Path) -> None:
    header = "path,subject,sequence,frame,x,y,w,h,landmarks,AU1"
    text = f"{header}\na.png,1,007,11,1,2,30.5,40,a.txt,1\nb.png,1,007,,,,,,gone.txt,1\n"
    samples = csv.read(table_of(tmp_path, text, "a.png b.png a.txt"), None, "subject")
    first, second = samples.table.iloc[0], samples.table.iloc[1]
    assert (first["sequence"], first["frame"], first["w"]) == ("007", 11, 30.5)
    assert first["landmarks"] == str(tmp_path / "a.txt")
    assert second[["frame", "x", "y", "w", "h", "landmarks"]].isna().all()
    assert samples.skipped.items == {csv.NO_LANDMARKS: ["gone.txt"]}


def test_the_21_column_table_of_the_classic_coursework_is_read_as_it_is(tmp_path: Path) -> None:
    units = "AU17,AU1,AU2,AU25,AU27,AU4,AU7,AU23,AU24,AU6,AU12,AU15,AU14,AU11,AU26"
    image = "cohn-kanade-images/S005/001/S005_001_00000011.png"
    values = ",".join("1" if unit in ("AU17", "AU4") else "0" for unit in units.split(","))
    text = (
        f"subject,sequence,image_index,filepath,file_prefix,{units},high_level_emotion\n"
        f"S005,1,11,./{image},S005_001_00000011,{values},negative\n"
    )
    (tmp_path / "tables").mkdir()
    (tmp_path / image).parent.mkdir(parents=True)
    (tmp_path / image).touch()
    samples = csv.read(table_of(tmp_path / "tables", text, ""), tmp_path, "subject")
    row = samples.table.iloc[0]
    assert row[["path", "subject", "sequence", "frame", "emotion"]].tolist() == [
        str(tmp_path / image),
        "S005",
        "1",
        11,
        "negative",
    ]
    assert len(au_columns(samples.table)) == 15
    assert [c for c in au_columns(samples.table) if row[c] == 1] == ["AU4", "AU17"]


@pytest.mark.parametrize("column", csv.SUBJECT_COLUMNS[1:])
def test_the_default_subject_is_found_under_a_well_known_name(tmp_path: Path, column: str) -> None:
    table = table_of(tmp_path, PLAIN.replace("subject", column))
    assert csv.read(table, None, "subject").table["subject"].tolist() == ["010", "011"]


def test_a_chosen_subject_column_is_taken_and_no_other_stands_in_for_it(tmp_path: Path) -> None:
    table = table_of(tmp_path, "path,actor,person,emotion\na.png,x,1,happy\nb.png,y,1,happy\n")
    assert csv.read(table, None, "Actor").table["subject"].tolist() == ["x", "y"]
    assert "data.subject=COLUMN" in refusal(table, subject="who")


@pytest.mark.parametrize("header", ["path,emotion", "path,person,identity,emotion"])
def test_without_one_clear_subject_the_reader_says_why_it_stops(tmp_path: Path, header: str) -> None:
    row = ",".join(["a.png", *["1"] * (header.count(",") - 1), "happy"])
    message = refusal(table_of(tmp_path, f"{header}\n{row}\n"))
    assert [p for p in ("training and test", "data.subject=COLUMN", "data.subject=path") if p not in message] == []


def test_every_image_its_own_person_only_by_declaration_and_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of(tmp_path, "path,emotion\na.png,happy\nb.png,fear\n")
    with caplog.at_level(logging.WARNING):
        samples = csv.read(table, None, "path")
    assert samples.table["subject"].nunique() == 2
    assert "person of its own" in caplog.text


def test_an_empty_subject_or_path_is_refused_with_its_line(tmp_path: Path) -> None:
    assert "line 3" in refusal(table_of(tmp_path, "path,subject,emotion\na.png,1,happy\nb.png,,happy\n"))
    assert "line 2" in refusal(table_of(tmp_path, "path,subject,emotion\n,1,happy\nb.png,2,happy\n"))


@pytest.mark.parametrize("word", ["NaN", "None", "null", "<NA>"])
def test_a_missing_subject_in_words_is_no_person(tmp_path: Path, word: str) -> None:
    assert "line 3: column subject" in refusal(table_of(tmp_path, PLAIN.replace("011", word)))


def test_half_a_box_and_frames_without_a_number_are_refused(tmp_path: Path) -> None:
    boxed = "path,subject,emotion,x,y,w\na.png,1,happy,1,2,3\n"
    assert "there is no h" in refusal(table_of(tmp_path, boxed))
    endless = "path,subject,emotion,x,y,w,h\na.png,1,happy,1,2,inf,4\n"
    assert "a number of pixels" in refusal(table_of(tmp_path, endless))
    for frame in ("inf", "1e30", "1.5"):
        framed = f"path,subject,emotion,frame\na.png,1,happy,{frame}\n"
        assert "a whole number" in refusal(table_of(tmp_path, framed))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('path,subject,AU1\na.png,"1,1\nb.png,2",1\nc.png,3,1\n', 2),  # a quote left open takes in a row
        ("path,subject,AU1\na.png,1,1\nb.png,2\x1b[31m,1\n", 3),
        ("path,subject,AU1\na.png,1,1\nb\x00.png,2,1\n", 3),
    ],
)
def test_names_with_control_characters_are_refused_with_their_line(tmp_path: Path, text: str, line: int) -> None:
    message = refusal(table_of(tmp_path, text))
    assert f"line {line}: column" in message and "control characters" in message


def test_a_long_cell_is_not_shown_whole(tmp_path: Path) -> None:
    assert len(refusal(table_of(tmp_path, 'path,subject,AU1\na.png,"' + "1,1\nb.png," * 9999 + '",1\n'))) < 400


def test_a_subject_may_be_called_na(tmp_path: Path) -> None:
    assert csv.read(table_of(tmp_path, PLAIN.replace("010", "NA")), None, "subject").table["subject"][0] == "NA"


def test_missing_files_are_counted_and_all_missing_is_an_error(tmp_path: Path) -> None:
    table = table_of(tmp_path, PLAIN, "b.png")
    samples = csv.read(table, None, "subject")
    assert samples.table["subject"].tolist() == ["011"]
    assert samples.skipped.items == {NOT_FOUND: ["a.png"]} and samples.skipped.n_images == 1
    (tmp_path / "b.png").unlink()
    assert "data.root" in refusal(table)


def test_no_path_leaves_a_given_root(tmp_path: Path) -> None:
    outside = tmp_path / "root-of-another" / "secret.png"
    outside.parent.mkdir()
    outside.touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.png").touch()
    climbing = ["../root-of-another/secret.png", "sub/../../root-of-another/secret.png", str(outside)]
    rows = "".join(f"{path},{i},happy\n" for i, path in enumerate(["a.png", *climbing]))
    table = table_of(tmp_path, f"path,subject,emotion\n{rows}", "")
    samples = csv.read(table, tmp_path / "root", "subject")
    assert samples.table["path"].tolist() == [str(tmp_path / "root/a.png")]
    assert samples.skipped.items == {OUTSIDE_ROOT: climbing}


def test_rows_without_any_label_are_left_out_and_counted(tmp_path: Path) -> None:
    text = "path,subject,emotion,AU1\na.png,1,,\nb.png,2,,0\nc.png,3,fear,\n"
    samples = csv.read(table_of(tmp_path, text), None, "subject")
    assert samples.table["subject"].tolist() == ["2", "3"]
    assert samples.skipped.items == {csv.NO_LABEL: ["line 2"]}
    assert "no row has a label" in refusal(table_of(tmp_path, "path,subject,emotion\na.png,1,\n"))


def test_an_image_in_two_rows_is_refused_however_it_is_written(tmp_path: Path) -> None:
    message = refusal(table_of(tmp_path, "path,subject,emotion\na.png,1,happy\nb.png,1,happy\n./a.png,2,fear\n"))
    assert "line 4" in message and "line 2" in message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "not a csv file"),
        ("path,subject,AU1,AU1_intensity\na.png,1,0,4\n", "allowed: 0 or empty where the AU is 0"),
        ("path,subject,emotion\n", "no rows"),
        ("path,subject,emotion\na.png,1,happy,9\n", "its header has 3 columns, and line 2 has 4 cells"),
        ("path,subject,Path,emotion\na.png,1,b.png,happy\n", "two columns named path"),
        ("path,subject,AU1,AU01\na.png,1,1,0\n", "two columns for AU1"),
        ("path,subject,AU1_intensity\na.png,1,1\n", "needs the column AU1"),
        ("path,subject,mood\na.png,1,happy\n", "no label column"),
        ("place,subject,emotion\na.png,1,happy\n", "no column with the path"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, part: str) -> None:
    table = table_of(tmp_path, text)
    message = refusal(table)
    assert part in message and str(table) in message


def test_a_table_or_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, PLAIN)
    assert "data.table" in refusal(tmp_path / "gone.csv")
    assert "data.table" in refusal(tmp_path)
    assert "does not exist" in refusal(table, root=tmp_path / "gone")
    assert "not a folder" in refusal(table, root=table)
    (tmp_path / "labels.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    assert "UTF-8" in refusal(table)


def test_a_choice_of_frames_is_announced_as_without_effect(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        csv.read(table_of(tmp_path, PLAIN), None, "subject", frames="peak3")
    assert "data.frames=peak3" in caplog.text


def test_frames_of_one_sequence_are_announced_as_samples_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    head = "path,subject,emotion,sequence,frame\n"
    csv.read(table_of(tmp_path, head + "a.png,1,happy,,\nb.png,1,happy,,\n"), None, "subject")
    assert "sample as it is" not in caplog.text
    csv.read(table_of(tmp_path, head + "a.png,1,happy,s1,1\nb.png,1,happy,s1,2\n"), None, "subject")
    assert "every row of" in caplog.text and "sample as it is" in caplog.text


@pytest.mark.skipif(
    "FER_EXTRA_DATA" not in os.environ, reason="needs the folder of the extra data sets in FER_EXTRA_DATA"
)
def test_the_photographs_have_the_counts_of_their_readme() -> None:
    table = csv.read(Path(os.environ["FER_EXTRA_DATA"]) / "real-faces" / "labels.csv", None, "subject").table
    assert (len(table), table["subject"].nunique()) == (1274, 813)
    expected = {
        "neutral": 400,
        "happy": 400,
        "surprise": 201,
        "sadness": 121,
        "anger": 113,
        "disgust": 32,
        "fear": 4,
        "contempt": 3,
    }
    assert table["emotion"].value_counts().to_dict() == expected


def test_a_coarse_emotion_fills_in_where_there_is_no_fine_one(tmp_path: Path) -> None:
    text = "path,subject,emotion,high_level_emotion\na.png,1,happy,negative\nb.png,2,,negative\nc.png,3,,\n"
    found = csv.read(table_of(tmp_path, text), None, "subject")
    assert found.table["emotion"].tolist() == ["happy", "negative"]
    assert found.skipped.items == {csv.NO_LABEL: ["line 4"]}


def test_units_under_other_names_are_counted_as_left_out(tmp_path: Path) -> None:
    text = "path,subject,emotion,AU12_c,au_4,AU1\na.png,1,happy,1,0,1\nb.png,2,sadness,0,1,0\n"
    found = csv.read(table_of(tmp_path, text), None, "subject")
    assert au_columns(found.table) == ["AU1"] and found.skipped.items == {csv_labels.OTHER_AU: ["AU12_c", "au_4"]}


@pytest.mark.parametrize(
    "names", [("Anna", "anna"), ("Zo\u00eb", "Zoe\u0308"), ("1", "01"), ("7", "7.0"), ("S01", "S1"), ("a  b", "a b")]
)
def test_spellings_that_may_be_one_person_are_named(
    tmp_path: Path, names: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    text = f"path,subject,emotion\na.png,{names[0]},happy\nb.png,{names[1]},sadness\nc.png,8,happy\n"
    assert csv.read(table_of(tmp_path, text), None, "subject").table["subject"].nunique() == 3
    assert f"{names[0]!r} and {names[1]!r} count as different people" in caplog.text


def test_a_reference_is_never_the_face_of_somebody_else(tmp_path: Path) -> None:
    text = "path,subject,AU1,reference\na.png,1,,\nb.png,1,1,a.png\nc.png,2,1,{}\n"  # the neutral one without a label
    for reference, owner in (("a.png", "1"), ("b.png", "1")):
        table = table_of(tmp_path, text.format(reference))
        with pytest.raises(FerError, match=f"line 4: the reference of 2 is a picture of {owner}"):
            csv.read(table, None, "subject", reference=True)


def test_a_reference_is_cut_as_it_is_by_itself(tmp_path: Path) -> None:
    text = "path,subject,AU1,reference,x,y,w,h,landmarks\na.png,1,{},,1,2,3,4,a.txt\nb.png,1,1,a.png,5,6,7,8,\n"
    for label in ("0", ""):
        path = table_of(tmp_path, text.format(label), images="a.png b.png a.txt")
        row = csv.read(path, None, "subject", reference=True).table.iloc[-1]
        assert row[list(REFERENCE_BOX_COLUMNS)].tolist() == [1, 2, 3, 4]
        assert row["reference_landmarks"] == str(tmp_path / "a.txt")


def test_a_path_of_another_system_is_said_to_be_one(tmp_path: Path) -> None:
    assert "its parts are parted by /" in refusal(table_of(tmp_path, "path,subject,emotion\nimg\\a.png,1,happy\n"))


def test_a_spreadsheet_may_name_its_separator_and_boxes_their_sides_in_full(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    table = tmp_path / "t.csv"
    table.write_text("sep=;\npath;subject;AU12;x;y;Width;height\na.png;p;1;10;20;30;40\n")
    assert csv.read(table, None, "subject").table[["x", "y", "w", "h"]].to_numpy().tolist() == [[10, 20, 30, 40]]
    table.write_text("path,subject,AU12,width,height\na.png,p,1,640,480\n")  # those of the picture
    assert "w" not in csv.read(table, None, "subject").table


def test_columns_that_look_like_units_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    table = tmp_path / "t.csv"
    table.write_text("path,subject,AU12,AU 1,AU-2,FAU9,Action Unit 4,auto_2\na.png,p,1,1,1,1,1,1\n")
    assert csv.read(table, None, "subject").skipped.counts() == {csv_labels.OTHER_AU: 4}


@pytest.mark.parametrize("folder", ["", "one/", "one/two/three/"])
def test_data_is_the_same_wherever_it_stands(tmp_path: Path, folder: str) -> None:
    found = set()
    for place in ("here", "there/deep down"):
        (tmp_path / place / folder).mkdir(parents=True)
        for name in "ab":
            (tmp_path / place / folder / f"{name}.png").touch()
        table = tmp_path / place / "t.csv"
        table.write_text(f"path,subject,AU12\n{folder}a.png,p,1\n{folder}b.png,q,0\n")
        found.add(fingerprint(csv.read(table, None, "subject").table))
    assert len(found) == 1
