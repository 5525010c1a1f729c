from __future__ import annotations

from typing import Any

import numpy as np
from tracking_toys import MARGIN, Knows

from i2uv_edge.data.pictures import Box
from i2uv_edge.tracking.boxes import Extent, around
from i2uv_edge.tracking.tracker import LOOKS, Tracker

PICTURE = np.zeros((240, 320, 3), np.uint8)


def tracker(reader: Any, **options: Any) -> Tracker:
    return Tracker(reader, MARGIN, limit_mm=8.0, **options)


def test_a_hand_is_looked_for_in_the_whole_picture_and_again_where_it_was_seen() -> None:
    reader = Knows(120, 100)
    found = tracker(reader).follow(PICTURE)
    assert (found.how, found.doubt) == ("whole", "")
    assert reader.shown == [Box(0, -40, 320), around(Extent(120, 100, 160, 140), MARGIN)]
    assert found.look is not None


def test_the_next_frame_is_looked_at_where_the_hand_was() -> None:
    reader = Knows(120, 100)
    following = tracker(reader)
    following.follow(PICTURE)
    reader.place += 3
    found = following.follow(PICTURE)
    assert found.how == "tracked"
    assert reader.shown[-1] == around(Extent(120, 100, 160, 140), MARGIN)
    following.follow(PICTURE)
    assert reader.shown[-1] == around(Extent(123, 103, 163, 143), MARGIN)


def test_a_hand_at_rest_keeps_its_box() -> None:
    reader = Knows(120, 100)
    following = tracker(reader)
    following.follow(PICTURE)
    for step in (0.4, -0.8, 0.4):
        reader.place += np.float32(step)
        following.follow(PICTURE)
    assert len(set(reader.shown[1:])) == 1


def test_a_hand_that_jumps_is_looked_for_again_in_the_same_frame() -> None:
    reader = Knows(120, 100)
    following = tracker(reader)
    following.follow(PICTURE)
    reader.place -= 90
    found = following.follow(PICTURE)
    assert (found.how, found.doubt) == ("whole", "")


def test_what_disagrees_with_itself_is_doubted_and_not_followed() -> None:
    reader = Knows(120, 100, apart_mm=9.0)
    following = tracker(reader)
    found = following.follow(PICTURE)
    assert "9.0 mm" in found.doubt
    reader.apart_mm = 1.0
    assert following.follow(PICTURE).how == "whole"


def test_a_given_square_is_looked_at_once() -> None:
    reader = Knows(120, 100)
    found = tracker(reader).follow(PICTURE, Box(100, 90, 60))
    assert (found.how, reader.shown) == ("given", [Box(100, 90, 60)])


def test_a_detector_says_where_to_look_first_and_only_where_nothing_is_followed() -> None:
    reader, asked = Knows(120, 100), []

    def detector(picture: Any) -> Box:
        asked.append(1)
        return Box(110, 90, 60)

    following = tracker(reader, detector=detector)
    assert following.follow(PICTURE).how == "detector"
    assert reader.shown[0] == Box(110, 90, 60)
    following.follow(PICTURE)
    assert len(asked) == 1


def test_a_detector_that_sees_nothing_leaves_the_whole_picture() -> None:
    reader = Knows(120, 100)
    assert tracker(reader, detector=lambda picture: None).follow(PICTURE).how == "whole"


def test_other_pictures_are_no_next_frames() -> None:
    reader = Knows(120, 100)
    following = tracker(reader)
    following.follow(PICTURE)
    following.forget()
    assert following.follow(PICTURE).how == "whole"


def test_answers_that_are_no_numbers_are_no_hand() -> None:
    found = tracker(Knows(np.nan, 100)).follow(PICTURE)
    assert found.look is None
    assert found.doubt


def test_an_answer_that_never_settles_ends() -> None:
    reader = Knows(120, 100)

    class Runs(Knows):
        def look(self, picture: Any, box: Box) -> Any:
            self.place += 9
            return super().look(picture, box)

    reader = Runs(60, 60)
    tracker(reader).follow(PICTURE)
    assert len(reader.shown) == LOOKS
