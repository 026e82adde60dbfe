"""The bundled sets, the toy sets, and MNIST from folders and from a server that misbehaves."""
import contextlib
import gzip
import hashlib
import http.server
import shutil
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from minidl import data
from minidl.data import datasets
from minidl.errors import ArgumentError, DataError, DimensionError

DIGITS = Path(datasets.FOLDER) / "digits8x8.npz"


# ---------------------------------------------------------------------- in the package
@pytest.mark.parametrize("make, sizes, side", [(data.MNIST10k, (8000, 2000), 28), (data.Digits, (1437, 360), 8)])
def test_bundled_sets(make, sizes, side):
    train, test = make(), make(train=False)
    assert (len(train), len(test)) == sizes
    image, label = train[-1]
    assert image.shape == (1, side, side) and image.dtype == np.float32 and type(label) is int
    assert train.data.dtype == np.uint8 and train.data.shape == (sizes[0], side, side) and train.data.max() == 255
    assert train.targets.dtype == np.int64 and train.classes == list("0123456789")
    assert np.bincount(test.targets).min() > sizes[1] / 15
    x, y = train.tensors()
    assert x.shape == (sizes[0], 1, side, side) and 0 == x.numpy().min() and x.numpy().max() == 1
    assert np.array_equal(x[-1].numpy(), image.numpy()) and int(y[-1]) == label
    seen = {image.tobytes() for image in train.data}
    assert len(seen) == sizes[0] and not any(image.tobytes() in seen for image in test.data)
    with pytest.raises(DimensionError):
        train[sizes[0]]


def test_the_digits_can_be_told_apart_by_their_means():
    (x, y), (u, v) = data.MNIST10k().tensors(), data.MNIST10k(train=False).tensors()
    means = np.stack([x.numpy()[y.numpy() == k].mean(axis=0).ravel() for k in range(10)])
    distances = ((u.numpy().reshape(-1, 1, 784) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == v.numpy()).mean() > 0.75


def test_batches_are_items_put_together():
    for transform in (None, data.Compose([data.ToTensor(), data.Normalize(0.5, 0.5)]),
                      lambda image: md.tensor(image[:2, :2])):
        digits = data.Digits(transform=transform)
        x, y = next(iter(data.DataLoader(digits, 7)))
        assert np.array_equal(x.numpy(), np.stack([digits[k][0].numpy() for k in range(7)]))
        assert y.tolist() == [digits[k][1] for k in range(7)] and y.dtype == np.int64
    even = data.Digits(target_transform=lambda k: k % 2)
    assert even.tensors()[1].tolist() == [even[k][1] for k in range(len(even))]


def test_an_array_from_a_transform_is_a_tensor_in_the_batch():
    digits = data.Digits(transform=data.Lambda(lambda image: image / 255))
    x, _ = next(iter(data.DataLoader(digits, 3)))
    assert isinstance(x, md.Tensor) and isinstance(digits.tensors()[0], md.Tensor)


def test_a_batch_of_mnist10k_is_quick():
    loader = data.DataLoader(data.MNIST10k(), batch_size=64, shuffle=True)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        batches = sum(1 for _ in loader)
        times.append((time.perf_counter() - start) / batches)
    assert min(times) < 1e-3, f"{min(times) * 1e3:.2f} ms a batch; 0.05 is usual"


def test_damage_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "FOLDER", tmp_path)
    with pytest.raises(DataError, match="not there"):
        data.Digits()
    content = bytearray(DIGITS.read_bytes())
    content[1000] ^= 1
    (tmp_path / "digits8x8.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged.\n    SHA-256"):
        data.Digits()


def test_sunspots_are_whole_and_in_order():
    year, number = data.sunspots()
    assert year.tolist() == list(range(1700, 2009)) and number.dtype == np.float64
    assert number.min() == 0 and dict(zip(year.tolist(), number))[1957] == 190.2 == number.max()
    assert np.isclose(number.mean(), 49.75, atol=0.005)             # as statsmodels describes its copy
    beats = np.abs(np.fft.rfft(number - number.mean()))
    assert 10 < len(number) / beats.argmax() < 12                    # the cycle of about 11 years
    number[:] = 0
    assert data.sunspots()[1].max() > 0                              # nobody else's copy was changed


def test_images_and_labels_must_pair_up():
    with pytest.raises(DataError, match="more images than labels"):
        data.ImageDataset(np.zeros((3, 2, 2), np.uint8), [0, 1], ["a", "b"])


# ---------------------------------------------------------------------- toy sets
@pytest.mark.parametrize("make, classes", [(data.spirals, 3), (data.moons, 2), (data.blobs, 4)])
def test_toy_sets(make, classes):
    x, y = make(50, classes=classes, generator=md.Generator(1))
    assert x.shape == (50, 2) and x.dtype == np.float32 and y.dtype == np.int64
    assert np.bincount(y.numpy()).max() - np.bincount(y.numpy()).min() <= 1 and len(set(y.tolist())) == classes
    assert np.abs(x.numpy()).max() < 4
    again, _ = make(50, classes=classes, generator=md.Generator(1))
    other, _ = make(50, classes=classes, generator=md.Generator(2))
    assert np.array_equal(x.numpy(), again.numpy()) and not np.array_equal(x.numpy(), other.numpy())
    with pytest.raises(ArgumentError):
        make(0)


def test_toy_sets_without_noise_have_their_shapes():
    x, y = (t.numpy() for t in data.moons(40, noise=0))
    assert np.allclose(np.hypot(*(x[y == 0]).T), 1) and np.allclose(np.hypot(*(x[y == 1] - [1, 0.5]).T), 1, atol=1e-6)
    x, y = (t.numpy() for t in data.spirals(40, noise=0, classes=2))
    assert np.allclose(x[y == 0], -x[y == 1], atol=1e-6) and np.isclose(np.hypot(*x.T).max(), 1)
    x, y = (t.numpy() for t in data.blobs(40, noise=0, classes=4))
    assert len(np.unique(x.round(4), axis=0)) == 4
    with pytest.raises(ArgumentError, match="at most 2 moons"):
        data.moons(classes=3)


# ---------------------------------------------------------------------- idx files
def idx(array, code=0x08):
    head = bytes([0, 0, code, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
LABELS = np.arange(40, dtype=np.uint8) % 10
CONTENT = {f"{part}-{kind}-ubyte.gz": gzip.compress(idx(array), mtime=0) for part in ("train", "t10k")
           for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS))}


class Little(data.MNIST):
    """MNIST, but with 40 images and digests of its own."""

    files = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()}
    mirrors = []
    timeout = 0.3


@pytest.mark.parametrize("code, dtype", [(0x08, "u1"), (0x09, "i1"), (0x0B, "i2"), (0x0C, "i4"), (0x0D, "f4"),
                                         (0x0E, "f8")])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_of_all_dtypes(tmp_path, code, dtype, suffix):
    array = (np.arange(24).reshape(2, 3, 4) * 5).astype(dtype)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(idx(array, code)) if suffix else idx(array, code))
    out = data.read_idx(path)
    assert out.dtype == array.dtype and np.array_equal(out, array) and out.flags.writeable


@pytest.mark.parametrize("content, text", [
    (b"", "not an idx"), (b"PK\x03\x04zip", "not an idx"), (b"\0\0\x07\x01", "not an idx"),
    (idx(LABELS)[:-1], "not whole"), (idx(LABELS) + b"x", "too long"), (b"\0\0\x08\x03\0\0", "not whole"),
    (b"\0\0\x08\xff" + b"\xff" * 1020, "not whole"),
])
def test_damaged_idx_files(tmp_path, content, text):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=text):
        data.read_idx(tmp_path / "a")


@pytest.mark.parametrize("content", [b"", b"nothing", gzip.compress(idx(LABELS), mtime=0)[:-9]],
                         ids=["empty", "text", "cut"])
def test_damaged_gz_files(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError):
        data.read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize("below", ["", "MNIST/raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_from_a_folder(tmp_path, below, packed):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for name, content in CONTENT.items():
        path = tmp_path / below / (name if packed else name.removesuffix(".gz"))
        path.write_bytes(content if packed else gzip.decompress(content))
    mnist = Little(tmp_path, train=False)
    assert np.array_equal(mnist.data, IMAGES) and np.array_equal(mnist.targets, LABELS)
    assert mnist[3][0].shape == (1, 28, 28) and mnist[3][1] == 3
    Little(tmp_path, download=True)             # nothing to fetch


def test_mnist_without_files_names_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz is not there.*\n(.*\n)+Try: .*MNIST10k"):
        data.MNIST(tmp_path)


def test_mnist_with_damaged_files(tmp_path):
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[::-1])))
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte.gz is damaged"):
        Little(tmp_path, train=False)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match="something else than MNIST"):
        Little(tmp_path, train=False)


def test_the_published_files_are_the_ones_asked_for():
    assert [size for size, _ in data.MNIST.files.values()] == [9912422, 28881, 1648877, 4542]
    assert all(len(sha256) == 64 for _, sha256 in data.MNIST.files.values()) and len(data.MNIST.mirrors) >= 3


# ---------------------------------------------------------------------- downloads
class Mirror(http.server.BaseHTTPRequestHandler):
    """A server with faults: `server.faults` maps a path's first folder to what goes wrong there."""

    def do_GET(self):
        _, folder, name = self.path.split("/")
        begin = self.headers.get("Range")
        self.server.asked.append((folder, name, begin))
        content, start = CONTENT[name], int(begin[6:-1]) if begin else 0
        fault = getattr(self, f"_{folder}", None)
        if fault:
            fault(content, start)
        else:
            self._send(content, start)

    def _send(self, content, start, upto=None, status=None):
        self.send_response(status or (206 if start else 200))
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(content[start:upto])

    def _cut(self, content, start):             # a third of the file, then the connection is gone
        self._send(content, start, upto=start + len(content) // 3 + 1)

    def _gone(self, content, start):
        self.send_error(404)

    def _busy(self, content, start):
        self.send_error(503)

    def _other(self, content, start):           # right size, wrong bytes
        self._send(content[:-1] + bytes([content[-1] ^ 1]), start)

    def _page(self, content, start):            # what a hotel's network answers to everything
        self._send(b"<html>Please log in</html>", 0)

    def _norange(self, content, start):
        self._send(content, 0)

    def _shifted(self, content, start):         # 206, but not what was asked for
        self._send(content, max(start - 1, 1))

    def _endless(self, content, start):         # never stops sending
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(bytes(65536))

    def _silent(self, content, start):          # takes the question, says nothing
        self.server.waiting.wait(5)

    def _stalls(self, content, start):          # begins well, then says nothing more
        self._send(content, start, upto=start + 10)
        self.wfile.flush()
        self.server.waiting.wait(5)

    def _noise(self, content, start):
        self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.asked, server.waiting = [], threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.waiting.set()
    server.shutdown()
    thread.join()
    server.server_close()


def mirrors(server, *folders):
    host, port = server.server_address
    return [f"http://{host}:{port}/{folder}/" for folder in folders]


def download(monkeypatch, tmp_path, urls):
    monkeypatch.setattr(Little, "mirrors", urls)
    mnist = Little(tmp_path, train=False, download=True)
    assert np.array_equal(mnist.data, IMAGES) and np.array_equal(mnist.targets, LABELS)
    raw = tmp_path / "MNIST" / "raw"
    assert sorted(p.name for p in raw.iterdir()) == sorted(n for n in CONTENT if n.startswith("t10k"))


def test_a_download_happens_once(server, monkeypatch, tmp_path):
    download(monkeypatch, tmp_path, mirrors(server, "good"))
    download(monkeypatch, tmp_path, mirrors(server, "good"))
    assert [asked[2] for asked in server.asked] == [None, None]


def test_a_cut_connection_is_taken_up_where_it_broke(server, monkeypatch, tmp_path):
    download(monkeypatch, tmp_path, mirrors(server, "cut"))
    begins = [begin for _, name, begin in server.asked if "images" in name]
    third = len(CONTENT["t10k-images-idx3-ubyte.gz"]) // 3 + 1
    assert begins == [None, f"bytes={third}-", f"bytes={2 * third}-"]


@pytest.mark.parametrize("fault", ["gone", "busy", "other", "page", "shifted", "endless", "silent", "stalls", "noise"])
def test_a_bad_mirror_is_left_for_a_good_one(server, monkeypatch, tmp_path, fault):
    start = time.monotonic()
    download(monkeypatch, tmp_path, mirrors(server, fault, "good"))
    assert time.monotonic() - start < 4
    assert {folder for folder, _, _ in server.asked} == {fault, "good"}


def test_a_wrong_beginning_from_elsewhere_is_thrown_away(server, monkeypatch, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    for begun in (b"x" * 100, b"x" * len(CONTENT["t10k-images-idx3-ubyte.gz"]), b"x" * 10**6):
        raw.mkdir(parents=True)
        (raw / "t10k-images-idx3-ubyte.gz.part").write_bytes(begun)
        download(monkeypatch, tmp_path, mirrors(server, "good"))
        shutil.rmtree(raw)


def test_an_answer_from_the_wrong_place_is_not_appended(server, monkeypatch, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte.gz.part").write_bytes(CONTENT["t10k-images-idx3-ubyte.gz"][:100])
    download(monkeypatch, tmp_path, mirrors(server, "shifted", "good"))
    assert server.asked[:2] == [("shifted", "t10k-images-idx3-ubyte.gz", "bytes=100-"),
                                ("good", "t10k-images-idx3-ubyte.gz", "bytes=100-")]


def test_a_server_without_range_starts_anew(server, monkeypatch, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte.gz.part").write_bytes(CONTENT["t10k-images-idx3-ubyte.gz"][:100])
    download(monkeypatch, tmp_path, mirrors(server, "norange"))
    assert [begin for _, _, begin in server.asked] == ["bytes=100-", None]


def test_without_network_the_message_names_mirrors_and_the_way_out(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/"
    monkeypatch.setattr(Little, "mirrors", [closed, "http://no-such-host.invalid/"])
    with pytest.raises(DataError) as caught:
        Little(tmp_path, download=True)
    text = str(caught.value)
    assert "train-images-idx3-ubyte.gz could not be had" in text and "MNIST10k() needs no network" in text
    assert closed in text and "no-such-host.invalid" in text and "refused" in text


def test_what_has_arrived_is_kept_for_the_next_day(server, monkeypatch, tmp_path):
    path, content = tmp_path / "f", CONTENT["t10k-images-idx3-ubyte.gz"]
    sha256 = hashlib.sha256(content).hexdigest()
    url, = (m + "t10k-images-idx3-ubyte.gz" for m in mirrors(server, "cut"))
    with pytest.raises(DataError, match="broke off after"):
        data.fetch([url], path, len(content), sha256, attempts=1)
    assert not path.exists() and (tmp_path / "f.part").stat().st_size > 1000
    data.fetch([url], path, len(content), sha256)
    assert path.read_bytes() == content and not (tmp_path / "f.part").exists()
    assert server.asked[1][2].startswith("bytes=")


def test_a_dripping_mirror_is_given_up(server, monkeypatch, tmp_path):
    content = CONTENT["t10k-images-idx3-ubyte.gz"]

    def drip(handler, content, start):
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not server.waiting.wait(0.02):
                handler.wfile.write(b"x")
    monkeypatch.setattr(Mirror, "_drips", drip, raising=False)
    url, = (m + "t10k-images-idx3-ubyte.gz" for m in mirrors(server, "drips"))
    start = time.monotonic()
    with pytest.raises(DataError, match="too slow"):
        data.fetch([url], tmp_path / "f", len(content), "0" * 64, limit=0.3)
    assert time.monotonic() - start < 3
