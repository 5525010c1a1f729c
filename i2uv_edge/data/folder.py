"""A plain folder of pictures: no annotation, the hand fills the picture."""

from __future__ import annotations

from pathlib import Path

from i2uv_edge.data.dataset import BUILT_IN, HandSample
from i2uv_edge.data.pictures import list_pictures, read_picture

__all__ = ["PictureFolder"]


class PictureFolder:
    """The pictures of a folder, by name; ids are file names, `skipped` files are no pictures.

    Raises
    ------
    InputError
        There is no folder, or no picture in it.
    """

    name = "folder"
    topology = BUILT_IN

    def __init__(self, folder: Path) -> None:
        self._paths, self.skipped = list_pictures(folder)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} pictures")
        path = self._paths[index]
        return HandSample(id=path.name, picture=read_picture(path))
