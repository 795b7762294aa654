"""How a picture is taken: pose of the head, lights, background, camera.

In: a random generator and a picture size. Out: a `View`; it also projects points of the head into the picture.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fer.data.synthetic.face import Array

CAMERA_DISTANCE = 1100.0
PIVOT = np.array([0.0, -60.0, 0.0], dtype=np.float32)
FACE_CENTER = np.array([0.0, -24.0, 80.0], dtype=np.float32)
FACE_HEIGHT = 232.0
"""From crown to chin in mm."""


@dataclass(frozen=True)
class View:
    """Pose, light and camera of one picture."""

    size: tuple[int, int]
    """Height and width in pixels."""
    scale: float
    """Pixels per millimetre."""
    center: tuple[float, float]
    """Pixel x, y of the middle of the face."""
    yaw: float
    """Radians; positive turns the face to the right of the picture, `pitch` up, `roll` clockwise."""
    pitch: float
    roll: float
    gaze: tuple[float, float]
    """Turn of the eyes in the head, radians: right and up."""
    light: tuple[float, float, float]
    """Direction towards the main light, unit length, in camera axes."""
    key: float
    fill: float
    ambient: float
    background: tuple[float, float, float]
    """Brightness, size of its gradient, size of its blotches."""
    exposure: float
    blur: float
    """Deviation of the camera's blur in pixels."""
    noise: float
    """Deviation of the sensor's noise in grey levels."""
    seed: int
    """Of the sensor's noise."""
    wall_seed: int
    """Of the background."""

    def rotation(self, share: float = 1.0) -> Array:
        """Head axes to camera axes, [3, 3]; `share` < 1 for what follows the head only partly."""
        return _rotation(self.yaw, self.pitch, self.roll, share)

    def rotate(self, points: Array, share: float = 1.0) -> Array:
        """Head points in camera axes (mm)."""
        turned: Array = (points - PIVOT) @ self.rotation(share).T + PIVOT
        return turned

    def project(self, points: Array, share: float = 1.0) -> Array:
        """Head points [..., 3] in mm -> pixel x, pixel y, depth in mm, [..., 3]."""
        posed = self.rotate(points, share)
        depth = posed[..., 2]
        zoom = self.scale * (CAMERA_DISTANCE - FACE_CENTER[2]) / (CAMERA_DISTANCE - depth)
        middle = self.rotate(FACE_CENTER[None])[0]
        x = self.center[0] + zoom * (posed[..., 0] - middle[0])
        y = self.center[1] - zoom * (posed[..., 1] - middle[1])
        return np.stack([x, y, depth], -1).astype(np.float32)


@lru_cache(maxsize=64)  # a picture asks for few of them, dozens of times
def _rotation(yaw: float, pitch: float, roll: float, share: float) -> Array:
    (cy, cp, cr), (sy, sp, sr) = (f(share * np.array([yaw, pitch, roll])) for f in (np.cos, np.sin))
    turned = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    tipped = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    tilted = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    rotation = np.asarray(tilted @ tipped @ turned, dtype=np.float32)
    rotation.setflags(write=False)
    return rotation


def sample_view(
    rng: np.random.Generator, size: tuple[int, int] = (490, 640), fill: float = 0.77, spread: float = 1.0
) -> View:
    """A random view.

    Args:
        rng: Source of chance.
        size: Height and width of the picture in pixels.
        fill: Height of the head as a share of the height of the picture (about 0.77 in the frames of CK+).
        spread: How far pose and light vary: 1 = a laboratory with a frontal camera, 3 = anywhere.
    """
    height, width = size
    scale = fill * height / FACE_HEIGHT * float(np.exp(rng.normal(0, 0.035 * spread)))
    yaw, pitch, roll = rng.normal(0, [0.06, 0.045, 0.03]) * spread
    light = np.array([rng.normal(0, 0.35 * spread**0.5), rng.normal(0.45, 0.25), 1.0])
    return View(
        size=size,
        scale=scale,
        center=(
            width / 2 + float(rng.normal(0, 0.022 * spread)) * width,
            height * 0.53 + float(rng.normal(0, 0.012 * spread)) * height,
        ),
        yaw=float(np.clip(yaw, -0.6, 0.6)),
        pitch=float(np.clip(pitch, -0.4, 0.4)),
        roll=float(np.clip(roll, -0.4, 0.4)),
        gaze=(float(rng.normal(0, 0.03 * spread)), float(rng.normal(0, 0.02 * spread))),
        light=tuple(float(v) for v in light / np.linalg.norm(light)),  # type: ignore[arg-type]
        key=float(rng.uniform(0.6, 1.05)),
        fill=float(rng.uniform(0.05, 0.35)),
        ambient=float(rng.uniform(0.22, 0.5)),
        background=(float(rng.uniform(0.02, 0.75)), float(rng.normal(0, 0.25)), float(rng.uniform(0, 0.15))),
        exposure=float(np.exp(rng.normal(0, 0.14))),
        blur=float(rng.uniform(0.45, 0.9)) * max(height / 490, 0.6),
        noise=float(rng.uniform(0.8, 3.2)),
        seed=int(rng.integers(2**31)),
        wall_seed=int(rng.integers(2**31)),
    )


def jitter(view: View, rng: np.random.Generator) -> View:
    """The next frame of the same recording: the head moves a little, the noise is new."""
    return replace(
        view,
        yaw=view.yaw + float(rng.normal(0, 0.012)),
        pitch=view.pitch + float(rng.normal(0, 0.012)),
        roll=view.roll + float(rng.normal(0, 0.006)),
        center=(view.center[0] + float(rng.normal(0, 1.5)), view.center[1] + float(rng.normal(0, 1.5))),
        gaze=(view.gaze[0] + float(rng.normal(0, 0.015)), view.gaze[1] + float(rng.normal(0, 0.015))),
        seed=int(rng.integers(2**31)),
    )
