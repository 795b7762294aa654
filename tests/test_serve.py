"""`fer.serve`: the JSON endpoint in process, and the page in a real browser."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer import Predictor, load
from fer.config import ServeConfig
from fer.data.synthetic import draw_face
from fer.use.facts import Facts

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

PATIENCE = 60_000
"""Milliseconds that a browser may take for anything."""

PEOPLE_SEE = {
    "text.txt": "not an image of a format that is read here",
    "huge.png": "10000 x 10000 pixels are more than the limit",
    "cut.jpg": "damaged image",
}


@pytest.fixture(scope="module")
def model(lively: Path) -> Predictor:
    return load(lively)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`face.png`, `pair.jpg`, and the files of `PEOPLE_SEE`."""
    folder = tmp_path_factory.mktemp("pictures")
    faces = [Image.fromarray(draw_face(np.random.default_rng(k), {12: 1.0, 6: 0.8}, color=True).image) for k in (3, 5)]
    faces[0].save(folder / "face.png")
    pair = Image.new("RGB", (1280, 490))
    pair.paste(faces[0], (0, 0))
    pair.paste(faces[1], (640, 0))
    pair.save(folder / "pair.jpg")
    (folder / "text.txt").write_text("no picture\n" * 20, encoding="utf-8")
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")
    (folder / "cut.jpg").write_bytes((folder / "pair.jpg").read_bytes()[:20_000])
    return folder


class Client:
    """Asks the application in this process, under the name of this machine unless told otherwise."""

    def __init__(self, predictor: Any, **settings: Any) -> None:
        from fer.use.serving.server import build_app

        self.app = build_app(predictor, ServeConfig(**settings))

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, **more)

    def __call__(self, method: str, path: str, **more: Any) -> Any:
        import asyncio

        return asyncio.run(self.ask(method, path, **more))


@pytest.fixture(scope="module")
def ask(model: Predictor, lively: Path) -> Client:
    return Client(model, checkpoint=str(lively), max_mb=1.0)


@pytest.mark.parametrize("name", ["face.png", "pair.jpg"])
@pytest.mark.parametrize("form", [False, True])
def test_answers_are_those_of_the_python_interface(
    ask: Client, model: Predictor, pictures: Path, name: str, form: bool
) -> None:
    content = (pictures / name).read_bytes()
    reply = ask("POST", "/predict", **({"files": {"file": (name, content)}} if form else {"content": content}))
    assert reply.status_code == 200
    answer, wanted = reply.json(), model.predict(content)
    assert (answer["width"], answer["height"]) == Image.open(io.BytesIO(content)).size
    assert len(answer["faces"]) == len(wanted) == (2 if name == "pair.jpg" else 1)
    for got, face in zip(answer["faces"], wanted, strict=True):
        assert got["box"] == pytest.approx(face.box._asdict())
        assert (got["how"], got["emotion"], got["au_active"], got["active_aus"]) == (
            face.how,
            face.emotion,
            face.au_active,
            face.active_aus,
        )
        assert got["au_prob"] == pytest.approx(face.au_prob, abs=1e-3)
        assert got["emotion_prob"] == pytest.approx(face.emotion_prob, abs=1e-3)
    assert answer["au_names"].keys() == set(model.facts.aus)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # as every command does
@pytest.mark.parametrize(("name", "message"), PEOPLE_SEE.items())
def test_what_is_no_honest_picture_gets_a_clear_line(ask: Client, pictures: Path, name: str, message: str) -> None:
    reply = ask("POST", "/predict", content=(pictures / name).read_bytes())
    assert reply.status_code == 400 and message in reply.json()["error"]
    assert ask("POST", "/predict", content=(pictures / "face.png").read_bytes()).status_code == 200


def test_uploads_are_bounded_while_they_arrive(ask: Client) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100:
            sent += 1
            yield b"0" * 100_000

    reply = ask("POST", "/predict", content=endless())
    assert reply.status_code == 413 and reply.json() == {"error": "more than the limit of 1 MB"}
    assert sent < 60  # what is over the limit is not read to its end


def test_an_upload_that_breaks_off_is_no_bug(model: Predictor) -> None:
    import asyncio

    messages = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1:8000"), (b"content-type", b"image/png")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b""}
    scope |= {"headers": headers, "scheme": "http", "server": ("127.0.0.1", 8000), "http_version": "1.1"}
    asyncio.run(Client(model).app(scope, receive, send))
    assert sent[0]["status"] == 400


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "no picture"),
        ({"files": {"a": b"x", "b": b"y"}}, "must hold one file"),
        ({"files": {"a": b""}}, "no picture"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "form can't be read"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=q"}}, "form"),
    ],
)
def test_requests_without_a_picture_are_refused(ask: Client, more: Any, message: str) -> None:
    reply = ask("POST", "/predict", **more)
    assert reply.status_code == 400 and message in reply.json()["error"]


def test_uploads_never_touch_the_disk(model: Predictor, lively: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    ask = Client(model, checkpoint=str(lively), max_mb=5.0)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("wrote a file")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    noise = np.random.default_rng(0).integers(
        0, 256, (700, 700, 3), np.uint8
    )  # above the 1 MiB that are held back anyway
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "BMP")
    assert ask("POST", "/predict", files={"file": buffer.getvalue()}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:8000"}, 403),
        ({"Host": "["}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "localhost:8000", "Origin": "http://localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
    ],
)
def test_other_sites_are_kept_out(ask: Client, pictures: Path, headers: dict[str, str], status: int) -> None:
    reply = ask("POST", "/predict", content=(pictures / "face.png").read_bytes(), headers=headers)
    assert reply.status_code == status
    assert "access-control-allow-origin" not in reply.headers


def test_every_answer_names_its_rules_and_every_refusal_is_json(ask: Client) -> None:
    for path in (
        "/",
        "/page.js",
        "/page.css",
        "/docs",
        "/docs.js",
        "/openapi.json",
        "/model",
        "/nowhere",
        "/../serve.py",
    ):
        reply = ask("GET", path)
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.status_code == 200 or set(reply.json()) == {"error"}
    assert ask("GET", "/predict").status_code == 405 and ask("GET", "/nowhere").status_code == 404


class Slow:
    """A model that takes its time, or fails, and has no gradients."""

    runtime = SimpleNamespace(has_gradients=False)

    def __init__(self, model: Predictor, seconds: float) -> None:
        self.facts, self._seconds = model.facts, seconds

    def predict(self, picture: Any) -> list[Any]:
        if self._seconds < 0:
            raise ZeroDivisionError("secret")
        time.sleep(self._seconds)
        return []


def test_time_and_number_of_requests_are_bounded(model: Predictor, pictures: Path) -> None:
    import asyncio

    content = (pictures / "face.png").read_bytes()
    late = Client(Slow(model, 0.5), timeout=0.1)("POST", "/predict", content=content)
    assert late.status_code == 503 and "0.1 seconds" in late.json()["error"]

    async def three() -> list[int]:
        ask = Client(Slow(model, 0.3), max_waiting=2)
        replies = await asyncio.gather(*(ask.ask("POST", "/predict", content=content) for _ in range(3)))
        return sorted(reply.status_code for reply in replies)

    assert asyncio.run(three()) == [200, 200, 503]


def test_a_bug_does_not_tell_its_insides(model: Predictor, pictures: Path) -> None:
    reply = Client(Slow(model, -1))("POST", "/predict", content=(pictures / "face.png").read_bytes())
    assert reply.status_code == 500 and "error" in reply.json() and "secret" not in reply.text


def test_the_model_and_its_limits(ask: Client, model: Predictor, trained: Path) -> None:
    bare = ask("GET", "/model").json()
    assert {unit["au"]: unit["threshold"] for unit in bare["aus"]} == dict(model.facts.thresholds)
    assert bare["emotions"] == list(model.facts.emotions) and not bare["card"]
    assert "No model card" in bare["limits"][0] and bare["must_not_be_used_for"]
    assert ask("GET", "/model-card").status_code == 404
    for checkpoint in (trained, trained / "checkpoints" / "best.ckpt", trained / "model.onnx"):
        with_card = Client(model, checkpoint=str(checkpoint))
        about = with_card("GET", "/model").json()
        card = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert about["card"] and with_card("GET", "/model-card").text == card
        assert all(
            " ".join(card.split()).count(limit) == 1 for limit in about["limits"] + about["must_not_be_used_for"]
        )
        assert len(about["limits"]) >= 3 and any(
            "Regulation 2024/1689" in line for line in about["must_not_be_used_for"]
        )


def test_a_heat_map_is_that_of_the_python_interface(ask: Client, model: Predictor, pictures: Path) -> None:
    from fer.data.faces import view_box
    from fer.results.thumbnails import layer
    from fer.use.heat import explain_face

    assert ask("GET", "/model").json()["heat"] is True
    content = (pictures / "pair.jpg").read_bytes()
    face, label = model.predict(content)[1], model.facts.aus[0]
    box = ",".join(map(str, face.box))
    answer = ask("POST", "/heat", params={"label": label, "box": box}, content=content).json()
    wanted = explain_face(model, content, face.box, [label])[label]
    with Image.open(io.BytesIO(base64.b64decode(answer["png"]))) as image:
        assert image.mode == "RGBA" and np.array_equal(image, layer(wanted, image.width))
    assert answer["view"] == pytest.approx(view_box(face.box, face.how)._asdict())
    assert (answer["label"], answer["empty"]) == (label, not wanted.any())


@pytest.mark.parametrize(
    ("params", "status", "message"),
    [
        ({"label": "AU99"}, 400, "the model knows no AU99"),
        ({}, 422, "label: field required"),
        ({"label": "AU4", "box": "1,2,3"}, 400, "must be x,y,w,h"),
        ({"label": "AU4", "box": "1,2,nan,3"}, 400, "must be x,y,w,h"),
        ({"label": "AU4", "box": "1,2,3,-3"}, 400, "must be x,y,w,h"),
        ({"label": "AU4", "box": "-8e307,-8e307,1.6e308,1.6e308"}, 400, "must be x,y,w,h"),
        ({"label": "AU4", "box": "5000,28,287,287"}, 400, "box=5000,28,287,287 is no part of the picture"),
        ({"label": "AU4", "box": "30,28,0.0001,0.0001"}, 400, "is no part of the picture"),
    ],
)
def test_a_heat_map_of_nothing_is_refused(
    ask: Client, pictures: Path, params: dict[str, str], status: int, message: str
) -> None:
    reply = ask("POST", "/heat", params=params, content=(pictures / "face.png").read_bytes())
    assert reply.status_code == status and message in reply.json()["error"]


def test_a_model_that_cannot_be_explained_says_why(model: Predictor, pictures: Path) -> None:
    ask, why = Client(Slow(model, 0)), "no gradients"
    about = ask("GET", "/model").json()
    assert about["heat"] is False and why in about["no_heat_because"]
    reply = ask("POST", "/heat", params={"label": "AU4"}, content=(pictures / "face.png").read_bytes())
    assert reply.status_code == 404 and why in reply.json()["error"]


def test_an_exported_model_is_served_without_torch() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['lightning'] = None; import fer.use.serving.server"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_dead_model_is_called_dead() -> None:
    from fer.use.serving.replies import about_model

    facts = Facts("x", (), ("a", "b"), {}, {"au": 1.0, "emotion": 1.0}, 64, "face", False)
    assert about_model(facts, None, 1, None).warning is None
    dead = dataclasses.replace(facts, warning="DEAD MODEL: says the same")
    assert about_model(dead, None, 1, None).warning == "DEAD MODEL: says the same"


def test_openapi_describes_the_endpoint(ask: Client) -> None:
    described = ask("GET", "/openapi.json").json()
    post = described["paths"]["/predict"]["post"]
    assert {"image/*", "multipart/form-data"} <= set(post["requestBody"]["content"])
    assert {"200", "400", "403", "413", "503"} <= set(post["responses"])
    assert "au_prob" in described["components"]["schemas"]["FaceReply"]["properties"]


def test_the_pages_name_nothing_elsewhere() -> None:
    from fer.use.serving.server import PAGE

    for path in PAGE.iterdir():
        assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")), path


@pytest.fixture(scope="module")
def address(lively: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own."""
    line = [sys.executable, "-m", "fer.serve", f"checkpoint={lively}", "port=0", "accelerator=cpu"]
    said = tmp_path_factory.mktemp("server") / "stderr.txt"  # a file: a pipe that nobody empties would stop the server
    with said.open("w") as stderr:
        server = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield printed_address(said, server)
        server.send_signal(signal.SIGINT)
        server.wait(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0 and said.read_text().strip().endswith("stopped"), said.read_text()


def printed_address(said: Path, server: subprocess.Popen[bytes]) -> str:
    """Waits for the line that names the address."""
    last = time.monotonic() + 120
    while server.poll() is None and time.monotonic() < last:
        if found := re.search(r"http://127\.0\.0\.1:\d+", said.read_text()):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(said.read_text())


def test_a_taken_port_and_a_foreign_host_are_refused_in_one_line(address: str, lively: Path) -> None:
    from fer.errors import FerError
    from fer.use.serving.listening import listener

    with pytest.raises(FerError, match="address already in use"):
        listener("127.0.0.1", int(address.rsplit(":", 1)[1]))
    with pytest.raises(FerError, match=r"host=192\.0\.2\.1"):
        listener("192.0.2.1", 0)


def test_a_large_upload_hears_why_it_is_refused(address: str) -> None:
    reply = httpx.post(f"{address}/predict", content=b"0" * 30_000_000, timeout=60)
    assert reply.status_code == 413 and reply.json()["error"] == "more than the limit of 20 MB"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser found")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]  # fmt: skip
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=chromium, args=options, timeout=PATIENCE)
        yield opened
        opened.close()


class Page:
    """The page in a browser, with everything that it asked for and complained about."""

    def __init__(self, browser: Any, address: str, path: str = "/", **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(PATIENCE)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self._note(message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{address}{path}")

    def _note(self, message: Any) -> None:
        refused = "status of 400" in message.text  # the browser's own line about an answer that is expected
        if message.type in ("error", "warning") and not refused:
            self.complaints.append(message.text)

    def drop(self, path: Path) -> None:
        content = list(path.read_bytes())
        data = self.page.evaluate_handle(
            "([content, name]) => { const data = new DataTransfer();"
            " data.items.add(new File([new Uint8Array(content)], name)); return data; }",
            [content, path.name],
        )
        self.page.dispatch_event("#stage", "drop", {"dataTransfer": data})

    def shot(self, name: str) -> None:
        if folder := os.environ.get("FER_SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_a_dropped_picture_is_answered_and_bad_files_harm_nothing(
    browser: Any, address: str, model: Predictor, pictures: Path
) -> None:
    seen = Page(browser, address, viewport={"width": 1400, "height": 900})
    page = seen.page
    for name, message in PEOPLE_SEE.items():
        seen.drop(pictures / name)
        page.wait_for_function("m => document.getElementById('error').textContent.includes(m)", arg=message)
        assert name in page.text_content("#error")
    seen.shot("error")
    seen.drop(pictures / "pair.jpg")
    page.wait_for_selector(".box")
    assert page.is_hidden("#error") and page.locator(".box").count() == 2
    wanted = model.predict(pictures / "pair.jpg")
    for k in (1, 0):
        page.click(f"#faces button:nth-child({k + 1})")
        assert page.locator("#emotions .on").text_content().startswith(wanted[k].emotion)
        assert sorted(page.locator("#active .code").all_text_contents()) == sorted(wanted[k].active_aus)
    shown, box = page.locator("#picture").bounding_box(), page.locator(".box").first.bounding_box()
    assert (box["x"] - shown["x"]) / shown["width"] == pytest.approx(wanted[0].box.x / 1280, abs=0.01)
    assert page.locator("#picture").evaluate("image => image.naturalWidth") == 1280
    page.click("#about-button")
    assert "not known here" in page.locator("#limits").text_content()
    page.keyboard.press("Escape")
    assert not page.locator("#about").is_visible()
    assert not seen.complaints
    assert all(url.startswith((address, "blob:", "data:")) for url in seen.asked)


def test_heat_is_laid_over_the_face_on_demand(browser: Any, address: str, model: Predictor, pictures: Path) -> None:
    from fer.data.faces import view_box

    seen = Page(browser, address, viewport={"width": 1400, "height": 900})
    page = seen.page
    seen.drop(pictures / "pair.jpg")
    page.wait_for_selector(".box")
    page.click("#faces button:nth-child(2)")
    face = model.predict(pictures / "pair.jpg")[1]
    button = page.get_by_role("button", name=f"Heat map of {face.emotion}", exact=True)
    button.click()
    page.wait_for_selector("#heat:visible")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.get_by_role("img", name=f"Heat map of {face.emotion}").is_visible()
    assert "not show that the answer is right" in page.text_content("#heat-note")
    picture, heat, view = (
        page.locator("#picture").bounding_box(),
        page.locator("#heat").bounding_box(),
        view_box(face.box, face.how),
    )
    scale = picture["width"] / 1280
    assert [heat["x"] - picture["x"], heat["y"] - picture["y"], heat["width"], heat["height"]] == pytest.approx(
        [scale * side for side in view], abs=2
    )
    seen.shot("heat")
    button.click()
    assert page.is_hidden("#heat") and not seen.complaints


def test_the_keyboard_is_enough(browser: Any, address: str, pictures: Path) -> None:
    page = Page(browser, address).page
    # from the start: an ear that is lent only when the key is pressed may hear nothing
    page.on("filechooser", lambda chooser: chooser.set_files(pictures / "face.png"))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#about").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector("#about", state="hidden")
    page.keyboard.press("Tab")
    page.wait_for_function("() => document.activeElement.id === 'choose'")
    page.keyboard.press("Enter")
    page.wait_for_selector(".box")


def test_the_camera_is_looked_through_until_it_is_stopped(browser: Any, address: str) -> None:
    seen = Page(browser, address)
    page = seen.page
    page.click("#camera")
    page.wait_for_selector("#result:visible")
    page.click("#camera")
    page.wait_for_selector("#picture:visible")
    assert page.text_content("#camera") == "Use the camera" and page.is_visible(
        "#whole"
    )  # its test picture has no face
    asked = len(seen.asked)
    page.wait_for_timeout(600)
    assert len(seen.asked) == asked and not seen.complaints


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_nothing_is_cut_off(browser: Any, address: str, pictures: Path, width: int, scheme: Any) -> None:
    seen = Page(browser, address, viewport={"width": width, "height": 850}, color_scheme=scheme)
    seen.page.wait_for_function("() => document.getElementById('model-line').textContent.includes('units')")
    seen.shot(f"before_{width}_{scheme}")
    seen.drop(pictures / "pair.jpg")
    seen.page.wait_for_selector(".box")
    seen.shot(f"after_{width}_{scheme}")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    seen.page.click("#about-button")
    seen.shot(f"about_{width}_{scheme}")
    docs = Page(browser, address, "/docs", viewport={"width": width, "height": 850}, color_scheme=scheme)
    docs.page.wait_for_selector("#schemas table")
    docs.shot(f"docs_{width}_{scheme}")
    assert docs.page.evaluate("document.documentElement.scrollWidth") <= width and not docs.complaints + seen.complaints
