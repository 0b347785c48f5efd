"""The skin of a face with its light, and what lies on it: eyes, brows, nose, mouth, ears, glasses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orchestrator.data.standin.face_pose import Look, Pose, mirrored
from orchestrator.data.standin.fields import Field, Rng, cloud, upsample
from orchestrator.data.standin.sheet import Cover, Points, Sheet, oval, rounded, stroke

Ink = NDArray[np.float32]  #: HxWx3
_COARSE = 2  # the light is smooth: every second pixel will do


def _tint(light: Field | np.float32) -> Ink:
    """Brightness as a factor of each channel: what is dark turns redder."""
    return np.stack([light * (1 + np.float32(k) * (light - 1)) for k in (-0.1, 0.05, 0.12)], -1)


class Face:
    """A face on a sheet; every part is cut off at its rim."""

    def __init__(self, sheet: Sheet, rng: Rng, look: Look, pose: Pose, owners: dict[str, int]) -> None:
        self.sheet, self.rng, self.look, self.pose, self.owners = sheet, rng, look, pose, owners
        half = [
            (0.0, -1.42), (0.55, -1.32), (0.9, -0.95), (1.0, -0.4), (0.99, 0.2), (look.jaw, 0.78),
            (0.56 * look.jaw + 0.08, 0.88 * look.chin), (0.22, look.chin), (0.0, look.chin + 0.02),
        ]  # fmt: skip
        points = mirrored(half)
        depth = 0.4 * np.clip((points[:, 1] + 0.2) / 1.6, 0, 1) * np.clip(1 - points[:, 0] ** 2, 0, 1)
        self.rim = sheet.cover(rounded(pose.at(points, depth)), 0.4)
        self.inside = self.rim.full(sheet.shape)
        self.tint = _tint(self._light())

    def _light(self) -> Field:
        """Brightness of the skin: a dome with a nose, cheeks, lips and sockets under one lamp."""
        y, x = (field[::_COARSE, ::_COARSE] for field in self.pose.grid(self.sheet.shape))
        rng, look, unit = self.rng, self.look, self.pose.unit
        height = 0.75 * np.sqrt(np.clip(1.02 - (x / 1.12) ** 2 - (y / 1.7) ** 2, 0.01, 1))

        def bump(px: float, py: float, sx: float, sy: float, high: float, lift: float = 0) -> None:
            (at,) = self.pose.at([(px, py)], lift=lift)
            c, s = np.cos(self.pose.roll), np.sin(self.pose.roll)
            dx, dy = (at - self.pose.centre) / unit
            far = ((x - (c * dx + s * dy)) / sx) ** 2 + ((y - (c * dy - s * dx)) / sy) ** 2
            np.add(height, np.float32(high) * np.exp(-far), out=height)

        end = look.nose[1]
        for k in range(5):  # the ridge of the nose rises towards its tip
            bump(0, -0.2 + (end + 0.1) * k / 4, 0.09 + 0.02 * k, 0.2, 0.03 + 0.025 * k, lift=0.06 * k)
        bump(0, end - 0.06, 0.13, 0.11, 0.1, 0.25)
        for side in (-1, 1):
            bump(side * look.nose[0] * 0.72, end, 0.09, 0.08, 0.06, 0.1)
            bump(side * look.eyes, -0.14, 0.24, 0.13, -0.08)
            bump(side * look.eyes, look.brow, 0.3, 0.08, 0.03)
            bump(side * 0.55, 0.32, 0.26, 0.22, 0.05)
        bump(0, look.mouth[0] + 0.2, 0.22, 0.05, -0.035)
        bump(0, look.chin - 0.2, 0.2, 0.14, 0.05)
        gy, gx = np.gradient(ndimage.gaussian_filter(height * unit / _COARSE, 0.02 * unit / _COARSE))
        angle, strength = rng.uniform(-np.pi, 0), rng.uniform(0.35, 0.75)
        lit = 1 + strength * (gx * -np.cos(angle) + gy * -np.sin(angle)) / np.sqrt(1 + gx**2 + gy**2)
        lit = np.clip(lit * (1 - 0.12 * np.hypot(gx, gy)), 0.3, 1.45)
        return upsample(np.asarray(lit, dtype=np.float32), self.sheet.shape)

    def lit(self, colour: NDArray[np.floating], least: float = 0.0) -> Ink:
        """A colour in the light of the place where it lies."""
        light = np.maximum(self.tint, _tint(np.float32(least))) if least else self.tint
        return np.asarray(light * colour.astype(np.float32), dtype=np.float32)

    def cover(self, points: Points, soft: float = 0.3) -> Cover:
        """A polygon's, within the face."""
        cover = self.sheet.cover(points, soft)
        return Cover(cover.at, cover.amount * self.inside[cover.at])

    def line(self, points: Points, wide: NDArray[np.float64] | float, dark: float, soft: float = 0.5) -> None:
        """A crease."""
        self.sheet.darken(self.cover(stroke(points, wide), soft), dark)

    def ears(self) -> None:
        """Both; what of them is behind the face or under hair is painted over later."""
        for side, name in ((-1, "l_ear"), (1, "r_ear")):
            points = oval((side * 1.03, 0.02), (0.17, 0.36), side * 0.15)
            cover = self.sheet.cover(self.pose.at(points, np.full(len(points), -0.1)), 0.4)
            shade = np.float32(self.rng.uniform(0.75, 1.0))
            self.sheet.paint(cover, self.look.skin * np.array([1, 0.93, 0.92], np.float32) * shade, self.owners[name])
            inner = oval((side * 1.05, -0.02), (0.09, 0.23), side * 0.15)
            self.sheet.darken(self.sheet.cover(self.pose.at(inner, np.full(len(inner), -0.1)), 1.2), 0.28)

    def skin(self) -> None:
        """Cheeks, perhaps freckles or a beard's shadow."""
        rng, sheet = self.rng, self.sheet
        y, x = self.pose.grid(sheet.shape)
        tone = self.look.skin * (1 + 0.03 * cloud(rng, sheet.shape, 60))[..., None]
        blush = np.exp(-(((np.abs(x) - 0.6) / 0.3) ** 2) - ((y - 0.35) / 0.25) ** 2)
        tone = tone * (1 - rng.uniform(0.02, 0.16) * blush[..., None] * np.array([0.1, 1, 0.9], np.float32))
        if rng.random() < 0.22:
            far = np.maximum(np.abs(x) ** 3, 0.35 * (1 - np.clip((y - 0.5) / 0.35, 0, 1)) * 2)
            beard = np.clip((y - 0.5) / 0.4, 0, 1) * (1 - 0.2 * far)
            grain = 1 + 0.35 * rng.standard_normal(sheet.shape, dtype=np.float32)
            share = np.clip(beard * rng.uniform(0.15, 0.75) * grain, 0, 0.9)[..., None]
            tone = tone + share * (self.look.hair - tone) * 0.8
        sheet.paint(self.rim, self.lit(tone), self.owners["skin"])

    def brows(self) -> None:
        look, rng = self.look, self.rng
        arch, thick, opacity = rng.uniform(0.03, 0.13), rng.uniform(0.07, 0.15), rng.uniform(0.35, 0.95)
        ink = self.lit(look.hair * np.float32(rng.uniform(0.5, 0.9)), 0.7)
        for side, name in ((-1, "l_brow"), (1, "r_brow")):
            t = np.linspace(0, 1, 14)
            path = np.stack([side * (0.17 + 0.56 * t), look.brow + 0.02 - arch * np.sin(np.pi * t**0.8) + 0.05 * t], -1)
            wide = thick * self.pose.unit * np.clip(1.15 - t**1.5, 0.2, 0.95)
            cover = self.cover(stroke(self.pose.at(path), wide), 0.9)
            self.sheet.paint(cover, ink, self.owners[name], opacity)

    def eyes(self) -> None:
        look, rng, sheet, unit = self.look, self.rng, self.sheet, self.pose.unit
        half, wide_open = look.eye
        gaze, tilt, lashes = rng.uniform(-0.07, 0.07), rng.uniform(-0.02, 0.05), rng.uniform(0.5, 0.95)
        for side, name in ((-1, "l_eye"), (1, "r_eye")):
            t = np.linspace(0, 1, 16)
            x = side * (look.eyes + half * (2 * t - 1))
            slope = -0.13 - tilt * (2 * t - 1)
            up = np.stack([x, slope - 0.125 * wide_open * np.sin(np.pi * t**0.85) ** 0.8], -1)
            low = np.stack([x, slope + 0.065 * wide_open * np.sin(np.pi * t**1.1)], -1)
            lids = self.cover(self.pose.at(np.concatenate([up, low[::-1]])), 0.3)
            self.line(self.pose.at(up - (0, 0.075)), 0.03 * unit, 0.35, 0.8)
            sheet.paint(lids, self.lit(np.array([232, 226, 222]), 0.55) * np.float32(0.92), self.owners[name])
            (at,) = self.pose.at([(side * look.eyes + gaze, -0.16)])

            def ball(radius: float, at: Points = at, lids: Cover = lids) -> Cover:
                disc = sheet.cover(oval((at[0], at[1]), (radius * unit, radius * unit)), 0.3)
                return Cover(disc.at, disc.amount * lids.full(sheet.shape)[disc.at])

            sheet.paint(ball(0.105), look.iris * np.float32(0.6))
            sheet.paint(ball(0.088), look.iris)
            sheet.paint(ball(0.045), np.array([10, 8, 8]))
            glint = sheet.cover(oval((at[0] - 0.03 * unit, at[1] - 0.04 * unit), (0.022 * unit, 0.022 * unit)), 0.2)
            sheet.paint(glint, np.array([255, 255, 255]), opacity=0.9)
            self.line(self.pose.at(up), 0.045 * unit, lashes, 0.4)
            self.line(self.pose.at(low), 0.018 * unit, 0.35)

    def nose(self) -> None:
        """Skin in the light of its own shape; only nostrils and wings are drawn."""
        wide, end = self.look.nose
        half = [
            (0.0, -0.22), (0.1, -0.2), (0.1, 0.1), (wide * 0.8, end - 0.18), (wide, end - 0.02),
            (wide * 0.7, end + 0.08), (0.0, end + 0.1),
        ]  # fmt: skip
        points = mirrored(half)
        lift = 0.25 * np.clip((points[:, 1] + 0.2) / 0.7, 0, 1) * (1 - np.abs(points[:, 0]) / 0.5)
        base = 0.6 * np.sqrt(np.clip(1 - points[:, 0] ** 2 - (points[:, 1] / 1.6) ** 2, 0, 1))
        cover = self.cover(rounded(self.pose.at(points, base + lift), 2), 0.3)
        self.sheet.owner[cover.at][cover.amount >= 0.5] = self.owners["nose"]
        unit = self.pose.unit
        for side in (-1, 1):
            hole = oval((side * wide * 0.42, end + 0.035), (0.075, 0.035), side * 0.3)
            self.sheet.darken(self.cover(self.pose.at(hole, lift=0.15), 0.03 * unit), 0.75)
            t = np.linspace(-1.2, 1.4, 10)
            wing = np.stack([side * (wide * 0.72 + 0.27 * wide * np.cos(t)), end - 0.04 + 0.11 * np.sin(t)], -1)
            self.line(self.pose.at(wing, lift=0.05), 0.03 * unit, 0.3, 0.02 * unit)
            fold = np.array(
                [(side * (wide + 0.02), end - 0.05), (side * (wide + 0.14), end + 0.15), (side * (wide + 0.18), 0.8)]
            )
            self.line(rounded(self.pose.at(fold), 2, False), 0.04 * unit, self.rng.uniform(0.05, 0.2), 0.03 * unit)

    def mouth(self) -> None:
        look, rng, sheet, unit = self.look, self.rng, self.sheet, self.pose.unit
        at, half, gap = look.mouth
        full = rng.uniform(0.75, 1.25)
        t = np.linspace(-1, 1, 25)
        bend = look.smile * t**2
        cupid = 0.02 * np.exp(-((t / 0.13) ** 2)) * full

        def curve(y: NDArray[np.floating]) -> Points:
            return self.pose.at(np.stack([half * t, at + y - bend], -1), lift=0.06)

        top = curve((-0.125 * full * (1 - np.abs(t) ** 1.6)) + cupid)
        upper, lower = curve(-0.45 * gap * (1 - t**2)), curve(0.55 * gap * (1 - t**2))
        bottom = curve((0.15 * full + 0.55 * gap) * (1 - np.abs(t) ** 2.2))
        if gap:
            hole = self.cover(np.concatenate([upper, lower[::-1]]), 0.3)
            sheet.paint(hole, np.array([74, 26, 28]), self.owners["mouth"])
            teeth = self.cover(np.concatenate([upper, curve((-0.45 + 0.65) * gap * (1 - t**4))[::-1]]), 0.4)
            sheet.paint(
                Cover(hole.at, teeth.full(sheet.shape)[hole.at] * hole.amount), np.array([226, 220, 212]), None, 0.92
            )
        for name, outline, level in (("u_lip", (top, upper), 0.88), ("l_lip", (lower, bottom), 1.04)):
            lip = self.cover(np.concatenate([outline[0], outline[1][::-1]]), 0.5)
            sheet.paint(lip, self.lit(look.lips * np.float32(level), 0.5), self.owners[name])
        shine = self.pose.at(oval((0.0, at + 0.08 * full + 0.55 * gap), (0.13, 0.02)), lift=0.08)
        sheet.paint(self.cover(shine, 0.02 * unit), np.array([255, 240, 236]), opacity=rng.uniform(0.05, 0.35))
        for line in (upper, lower) if gap else (upper,):
            self.line(line, 0.022 * unit, 0.55)
        under = self.pose.at(oval((0.0, at + 0.2 * full + 0.55 * gap), (0.2, 0.035)))
        sheet.darken(self.cover(under, 0.04 * unit), 0.16)

    def glasses(self) -> NDArray[np.bool_]:
        """Frames and lenses, clear or dark; the whole of them HxW, with the eyes behind clear ones."""
        look, rng, sheet, unit = self.look, self.rng, self.sheet, self.pose.unit
        dark = rng.random() < 0.3
        size, power = (rng.uniform(0.3, 0.38), rng.uniform(0.2, 0.32)), 2 / rng.uniform(2, 5)
        frame = rng.uniform(10, 90, 3) if rng.random() < 0.8 else rng.uniform(100, 220, 3)
        thick, whole = rng.uniform(0.025, 0.075) * unit, np.zeros(sheet.shape, np.bool_)
        outlines = []
        for side in (-1, 1):
            c = oval((0, 0), (1, 1))
            lens = np.sign(c) * np.abs(c) ** power * size + (side * look.eyes, -0.1)
            outlines.append(self.pose.at(lens, np.full(len(lens), 0.62)))
        eyes = np.isin(sheet.owner, [self.owners["l_eye"], self.owners["r_eye"]])
        for outline in outlines:
            cover = sheet.cover(outline, 0.3)
            kept = sheet.owner.copy()
            sheet.paint(cover, np.array([30, 30, 36]) if dark else np.array([200, 215, 225]), self.owners["eye_g"],
                        rng.uniform(0.8, 0.97) if dark else rng.uniform(0.03, 0.2))  # fmt: skip
            if not dark:
                sheet.owner[eyes] = kept[eyes]
            whole |= cover.full(sheet.shape) >= 0.5
        bridge = self.pose.at([(-0.12, -0.12), (0, -0.17), (0.12, -0.12)], np.full(3, 0.66))
        rods = [self.pose.at([(s * 0.74, -0.16), (s * 1.0, -0.14)], np.array([0.6, -0.1])) for s in (-1, 1)]
        for path in (*(np.concatenate([o, o[:2]]) for o in outlines), bridge, *rods):
            cover = sheet.cover(stroke(path, thick), 0.35)
            sheet.paint(cover, frame, self.owners["eye_g"])
            whole |= cover.full(sheet.shape) >= 0.5
        return whole
