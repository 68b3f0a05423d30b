"""The peers that run one network over tiles: torch, ONNX Runtime, OpenVINO and ncnn in float, each as its manual says.

A side is loaded from a folder that the benchmark wrote: `plain.onnx` (weights inside), and our own `graph.onnx` with
`weights.safetensors`. Two spans are timed: `net`, the network alone on an input that lies ready, and `rows`, from uint8 tiles
to decoded rows (B, A, 5 + C), which is the same work on every side.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from worker import load_tiles, timed


class Network:
    """What the sides share; a side gives `build`, `prepare`, `net` and, where the network does not decode, `decode`."""

    def load(self, folder: str) -> None:
        """Build the network from a model folder."""
        self.build(Path(folder))

    def run(self, file: str, repeats: int) -> dict[str, Any]:
        """Time some repeats over the tiles of a file; the CPU seconds of each."""
        tiles = load_tiles(file)
        ready = self.prepare(tiles)
        return {
            "net": timed(lambda: self.net(ready), repeats),
            "rows": timed(lambda: self.decode(self.net(self.prepare(tiles))), repeats),
        }

    def rows(self, file: str, out: str) -> None:
        """Write the decoded rows of a file's tiles to another: all sides must compute the same."""
        np.save(out, np.asarray(self.decode(self.net(self.prepare(load_tiles(file)))), np.float32))

    def build(self, folder: Path) -> None:
        """Load what `folder` holds."""
        raise NotImplementedError

    def prepare(self, tiles: Any) -> Any:
        """Return the network's input: float32 (B, 3, S, S) in 0..1."""
        planes = np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)).astype(np.float32)
        planes /= np.float32(255)
        return planes

    def net(self, image: Any) -> Any:
        """Run the network."""
        raise NotImplementedError

    def decode(self, output: Any) -> Any:
        """Return rows; the ONNX graph decodes by itself."""
        return output


class Torch(Network):
    """torch eager, one thread, inference mode."""

    def build(self, folder: Path) -> None:
        """Load the network."""
        import torch
        from safetensors.numpy import load_file

        from orbitloop.ground.adapters.network import YoloV3Tiny

        torch.set_num_threads(1)
        self.torch = torch
        about = json.loads((folder / "metadata.json").read_text())
        self.classes, self.strides, self.anchors = about["classes"], about["strides"], about["anchors_px"]
        self.model = YoloV3Tiny(about["width"], len(self.classes)).eval()
        self.model.load_weights(load_file(folder / "weights.safetensors"))

    def prepare(self, tiles: Any) -> Any:
        """Return the network's input."""
        return self.torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255

    def net(self, image: Any) -> Any:
        """Run the network."""
        with self.torch.inference_mode():
            return self.model(image)

    def decode(self, output: Any) -> Any:
        """Decode both maps in torch, for any size of picture; rows in the order of our graph's."""
        torch = self.torch
        with torch.inference_mode():
            parts = []
            for raw, stride, anchors in zip(output, self.strides, self.anchors, strict=True):
                batch, _, height, width = raw.shape
                maps = raw.view(batch, len(anchors), -1, height, width).permute(0, 1, 3, 4, 2).sigmoid()
                y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
                centre = (maps[..., :2] * 2 - 0.5 + torch.stack([x, y], -1)) * stride
                size = (maps[..., 2:4] * 2) ** 2 * torch.tensor(anchors).view(1, -1, 1, 1, 2)
                parts.append(torch.cat([centre, size, maps[..., 4:]], -1).reshape(batch, -1, maps.shape[-1]))
            return torch.cat(parts, 1).numpy()

    def roof(self, side: int, repeats: int) -> dict[str, list[float]]:
        """Time square products in int8 and float32: CPU seconds of 2 * side^3 operations."""
        torch = self.torch
        a = torch.randint(-64, 64, (side, side), dtype=torch.int8)
        b = torch.randint(-64, 64, (side, side), dtype=torch.int8)
        x, y = a.float(), b.float()
        return {"int8": timed(lambda: torch._int_mm(a, b), repeats), "float32": timed(lambda: torch.mm(x, y), repeats)}


class TunedTorch(Torch):
    """torch as one who knows it would run it: batch-norm folded into the convolutions, channels last."""

    def build(self, folder: Path) -> None:
        """Load the network."""
        super().build(folder)
        torch = self.torch
        fuse = torch.nn.utils.fusion.fuse_conv_bn_eval
        for name in list(self.model.norms):
            conv = name.replace("bn", "conv")
            self.model.convs[conv] = fuse(self.model.convs[conv], self.model.norms[name])
            self.model.norms[name] = torch.nn.Identity()
        self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it

    def prepare(self, tiles: Any) -> Any:
        """Return the network's input."""
        # A (B, H, W, 3) array permuted is channels last already.
        return super().prepare(tiles).contiguous(memory_format=self.torch.channels_last)


class OnnxRuntime(Network):
    """ONNX Runtime as it comes, but for one thread."""

    def build(self, folder: Path) -> None:
        """Load the network."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.session = onnxruntime.InferenceSession(str(folder / "plain.onnx"), options, providers=["CPUExecutionProvider"])

    def net(self, image: Any) -> Any:
        """Run the network."""
        return self.session.run(["pred"], {"image": image})[0]


class OpenVino(Network):
    """OpenVINO, latency hint, one thread, held to float32 (by itself it computes in bfloat16 where the CPU can)."""

    precision = "f32"

    def build(self, folder: Path) -> None:
        """Load the network."""
        import openvino

        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision}
        self.request = core.compile_model(str(folder / "plain.onnx"), "CPU", settings).create_infer_request()

    def net(self, image: Any) -> Any:
        """Run the network."""
        return self.request.infer({"image": image})["pred"]


class OpenVinoBf16(OpenVino):
    """OpenVINO as it comes on a CPU with bfloat16."""

    precision = "bf16"


class Ncnn(Network):
    """ncnn as it comes, but for one thread: with all its Winograd forms, which our own engine leaves off to save memory.

    Its files are written by our translation of the graph; the decoding, which ncnn has no layers for, is ours in numpy, and so
    the fairer span is `net`.
    """

    def build(self, folder: Path) -> None:
        """Load the network."""
        import ncnn

        from orbitloop.onboard.adapters.ncnn_graph import translate
        from orbitloop.onboard.adapters.onnx_graph import fit_graph
        from orbitloop.onboard.weights import load_weights

        fitted = fit_graph((folder / "graph.onnx").read_bytes(), load_weights((folder / "weights.safetensors").read_bytes()))
        self.ncnn, self.plan = ncnn, translate(fitted)
        (folder / "ncnn.param").write_text(self.plan.param)
        with (folder / "ncnn.bin").open("wb") as file:
            for part in self.plan.stream(fitted.tensors):
                file.write(part.tobytes())
        self.loaded = ncnn.Net()
        self.loaded.opt.num_threads = 1
        if self.loaded.load_param(str(folder / "ncnn.param")) or self.loaded.load_model(str(folder / "ncnn.bin")):
            raise ValueError("ncnn refuses the files")

    def net(self, image: Any) -> Any:
        """Run the network, picture by picture: ncnn has no batch."""
        found = []
        for planes in image:
            extractor = self.loaded.create_extractor()
            extractor.input(self.plan.source, self.ncnn.Mat(planes))
            found.append({name: np.array(extractor.extract(blob)[1])[None] for name, blob in self.plan.taps.items()})
        return found

    def decode(self, output: Any) -> Any:
        """Decode picture by picture."""
        return np.concatenate([self.plan.decode(maps)["pred"] for maps in output])


SIDES: dict[str, type[Network]] = {
    "torch": Torch,
    "torch-tuned": TunedTorch,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "openvino-bf16": OpenVinoBf16,
    "ncnn": Ncnn,
}
