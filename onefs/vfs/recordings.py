"""`.onefs/recorded`: what was recorded, as files whose text is made when they are opened."""

from collections.abc import Callable, Iterable, Mapping

from onefs.digests import digest64
from onefs.recording.labels import FILES
from onefs.recording.manifest import Entry, manifest_text
from onefs.recording.recorder import Recorder
from onefs.recording.saving import datasets_csv, sessions_csv
from onefs.vfs import inodes
from onefs.vfs.handles import GeneratedText
from onefs.vfs.nodes import Directory, LiveFolder, Node, SpecialFile, joined

NAME = "recorded"
_DATASETS, _SESSIONS, _MANIFEST = FILES


TEXTS: Mapping[str, Callable[[Iterable[Entry]], str]] = {
    _DATASETS: datasets_csv,
    _SESSIONS: sessions_csv,
    _MANIFEST: manifest_text,
}


def recorded_folder(recorder: Recorder, control: Directory) -> LiveFolder:
    """The folder in `control` that tells of all recordings, with one inside it for each label, as labels come."""
    path = joined(control.path, NAME)
    folder = LiveFolder(_ino(path), control.ino, NAME, path, 0)
    _add(folder, _files(path, recorder, None))

    def show(label: str, is_listed: bool) -> None:
        if not is_listed:  # its nodes stay, for the kernel may know them
            folder.children = {name: node for name, node in folder.children.items() if name != label}
            return
        inner = joined(path, label)
        files = _files(inner, recorder, label)
        folder.nodes.update((file.ino, file) for file in files.values())
        _add(folder, {label: Directory(_ino(inner), folder.ino, label, inner, 0, children=files)})

    recorder.show_labels(show)
    return folder


def _add(folder: LiveFolder, children: Mapping[str, Node]) -> None:
    """Whoever lists the folder just then goes through those that were there."""
    folder.nodes.update((child.ino, child) for child in children.values())
    folder.children = {**folder.children, **children}


def _files(folder_path: str, recorder: Recorder, label: str | None) -> dict[str, Node]:
    def made(name: str) -> GeneratedText:
        return GeneratedText(lambda: TEXTS[name](recorder.entries(label)))

    texts = {name: made(name) for name in TEXTS}
    paths = {name: joined(folder_path, name) for name in TEXTS}
    return {
        name: SpecialFile(_ino(paths[name]), name, paths[name], text.open, text=text) for name, text in texts.items()
    }


def _ino(path: str) -> int:
    return inodes.special_ino(digest64([path.encode(errors="surrogateescape")]))
