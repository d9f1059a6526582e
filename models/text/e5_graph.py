"""The network of multilingual-e5-small (BERT, 12 layers) as an ONNX graph with 8-bit matrices.

Weights get 7 bits, a scale for each output (8 would overflow the 16-bit sums of processors without VNNI). Activations
get 8 bits, a scale for each text; before the feed-forward layers each token is first divided by its own largest value:
a few tokens have values a hundred times those of others, and one scale for all would round the others away (cosine to
the exact network .9966 without that, .9991 with it). What changes vectors needs a new `models.text.e5.ARITHMETIC`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.text.packaged import PackagedE5

_LARGEST = 63  # of a 7-bit weight
_TINY = 1e-6
_GELU_DEPTH = 0.17
_CONTRIB = "com.microsoft"  # ONNX Runtime's own, fused operators
_OPSET, _IR = 20, 9


def e5_graph(model: PackagedE5) -> ModelProto:
    """Return the graph: token embeddings `x` (1, tokens, dim) in, their mean `mean` (1, dim) in the last layer out."""
    graph = _Graph()
    x = graph.norm("x", None, model.tensor("emb.ln.w"), model.tensor("emb.ln.b"), model.epsilon)
    for layer in range(model.layers):
        x = _layer(graph, model, f"l{layer}.", x)
    graph.node("ReduceMean", [x, graph.constant(np.array([1], np.int64))], ["mean"], keepdims=0)
    return graph.model(
        inputs=[helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "tokens", model.dim])],
        outputs=[helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, model.dim])],
    )


def _layer(graph: "_Graph", model: PackagedE5, prefix: str, x: str) -> str:
    """Add one post-norm transformer layer (Vaswani et al., 2017; BERT's placement of norms) and return its output."""

    def tensor(name: str) -> NDArray[np.float32]:
        return model.tensor(prefix + name)

    def matrix(*names: str, inputs: int) -> NDArray[np.float32]:
        return np.concatenate([tensor(f"{name}.w").reshape(-1, inputs) for name in names]).T

    joined = graph.linear(
        x, matrix("q", "k", "v", inputs=model.dim), np.concatenate([tensor(f"{name}.b") for name in "qkv"])
    )
    query, key, value = graph.node("Split", [joined], 3, axis=-1, num_outputs=3)
    [attended] = graph.node("MultiHeadAttention", [query, key, value], 1, _CONTRIB, num_heads=model.heads)
    attended = graph.linear(attended, matrix("ao", inputs=model.dim), tensor("ao.b"))
    x = graph.norm(x, attended, tensor("aln.w"), tensor("aln.b"), model.epsilon)
    inner = graph.linear(x, matrix("fi", inputs=model.dim), tensor("fi.b"), by_token=True)
    [inner] = graph.node("Gelu", [inner], 1, _CONTRIB)
    # GELU gives no less than -.17: a token's largest value bounds its size once it is no less than that.
    inner = graph.linear(inner, matrix("fo", inputs=model.inner), tensor("fo.b"), by_token=True, least=_GELU_DEPTH)
    return graph.norm(x, inner, tensor("oln.w"), tensor("oln.b"), model.epsilon)


class _Graph:
    """Nodes and constants of a graph in the making; values are named by number."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._names = 0

    def constant(self, value: NDArray[Any]) -> str:
        name = self._name()
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(
        self, kind: str, inputs: Sequence[str], outputs: int | list[str], domain: str = "", **attributes: Any
    ) -> list[str]:
        names = [self._name() for _ in range(outputs)] if isinstance(outputs, int) else outputs
        self._nodes.append(helper.make_node(kind, inputs, names, domain=domain, **attributes))
        return names

    def linear(
        self,
        x: str,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        *,
        by_token: bool = False,
        least: float | None = None,
    ) -> str:
        """Add `x @ weights + bias` in 8 bits; `by_token` scales each token's activations for itself.

        Where no value is below minus `least`, sizes need not be taken.
        """
        scale = np.maximum(np.abs(weights).max(axis=0), _TINY) / _LARGEST
        quantised = [
            self.constant(np.rint(weights / scale).astype(np.int8)),
            self.constant(scale.astype(np.float32)),
            self.constant(np.zeros(len(scale), np.int8)),
        ]
        if not by_token:
            return self.node("DynamicQuantizeMatMul", [x, *quantised, self.constant(bias)], 1, _CONTRIB)[0]
        sizes = x if least is not None else self.node("Abs", [x], 1)[0]
        [largest] = self.node("ReduceMax", [sizes, self.constant(np.array([-1], np.int64))], 1, keepdims=1)
        [largest] = self.node("Max", [largest, self.constant(np.array([least or _TINY], np.float32))], 1)
        [share] = self.node("Reciprocal", [largest], 1)
        [divided] = self.node("Mul", [x, share], 1)
        [product] = self.node("DynamicQuantizeMatMul", [divided, *quantised], 1, _CONTRIB)
        [product] = self.node("Mul", [product, largest], 1)
        return self.node("Add", [product, self.constant(bias)], 1)[0]

    def norm(
        self, x: str, added: str | None, weights: NDArray[np.float32], bias: NDArray[np.float32], epsilon: float
    ) -> str:
        """Add layer normalisation of `x`, or of `x + added`."""
        constants = [self.constant(weights), self.constant(bias)]
        if added is None:
            return self.node("LayerNormalization", [x, *constants], 1, epsilon=epsilon)[0]
        [total] = self.node("Add", [x, added], 1)
        return self.node("LayerNormalization", [total, *constants], 1, epsilon=epsilon)[0]

    def model(self, inputs: list[Any], outputs: list[Any]) -> ModelProto:
        graph = helper.make_graph(self._nodes, "e5", inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR)

    def _name(self) -> str:
        self._names += 1
        return f"v{self._names}"
