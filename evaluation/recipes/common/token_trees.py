"""Continuations that begin alike, as one tree of tokens: what they share is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

LEAST_SHARED = 2  # tokens that two sequences must have in common to share a tree
LARGEST_TREE = 2048  # positions; attention within a tree grows with their square
WORTH_A_CALL = 256  # tokens; fewer at once leave the processor waiting


@dataclass(frozen=True)
class Pair:
    """Token ids; neither part is empty."""

    context: Sequence[int]
    continuation: Sequence[int]


@dataclass
class Tree:
    """Sequences without their last token as a trie: `parents` point to earlier nodes, -1 at the root."""

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    numbers: dict[tuple[int, int], int] = field(default_factory=dict)  # (node, token that may follow) -> number
    numbers_of_pairs: list[tuple[int, list[int]]] = field(
        default_factory=list
    )  # (which pair, values of `numbers` to be summed)
    children: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def is_chain(self) -> bool:
        return all(parent == node - 1 for node, parent in enumerate(self.parents))

    def shared(self, ids: Sequence[int]) -> int:
        """Count how many tokens of the sequence's beginning stand in the tree."""
        node = -1
        for index, token in enumerate(ids[:-1]):
            if (node := self.children.get((node, token), -2)) == -2:
                return index
        return len(ids) - 1

    def paths(self) -> list[list[int]]:
        """Return the nodes of each sequence from the root on; of those that end at one node, once."""
        scored = list(self.numbers)
        ends = dict.fromkeys(scored[numbers[-1]][0] for _, numbers in self.numbers_of_pairs)
        return [self._path_to(node) for node in ends]

    def _path_to(self, node: int) -> list[int]:
        path = []
        while node >= 0:
            path.append(node)
            node = self.parents[node]
        return path[::-1]

    def add(self, number: int, pair: Pair) -> None:
        ids, node, path = [*pair.context, *pair.continuation], -1, []
        for index, token in enumerate(ids[:-1]):
            child = self.children.get((node, token))
            if child is None:
                child = self.children[node, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(node)
                self.depths.append(index)
            path.append(node := child)
        first = len(pair.context)
        followed = [(path[index - 1], ids[index]) for index in range(first, len(ids))]
        self.numbers_of_pairs.append((number, [self.numbers.setdefault(one, len(self.numbers)) for one in followed]))


def grown(pairs: Sequence[Pair]) -> list[Tree]:
    """Build trees: neighbours that begin alike share a tree, while it stays small enough."""
    trees: list[Tree] = []
    for number, pair in enumerate(pairs):
        ids = [*pair.context, *pair.continuation]
        common = trees[-1].shared(ids) if trees else 0
        is_worth_it = common >= max(LEAST_SHARED, len(ids) // 4)
        if not is_worth_it or len(trees[-1].tokens) + len(ids) - common > LARGEST_TREE:
            trees.append(Tree())
        trees[-1].add(number, pair)
    return trees


def tree_of(number: int, pair: Pair) -> Tree:
    tree = Tree()
    tree.add(number, pair)
    return tree


def batches(trees: list[Tree], tokens: int, *, pads: bool = True) -> Iterator[list[Tree]]:
    """Yield batches, the longest first, so that want of memory shows at once. Each batch is padded to its longest where
    it `pads`, and closed before the padding is more than a quarter of what has to be read, once there is enough for a
    product to be worth its call."""
    batch: list[Tree] = []
    n_tokens = 0
    for tree in sorted(trees, key=lambda tree: -len(tree.tokens)):
        size = (len(batch) + 1) * len((batch or [tree])[0].tokens) if pads else n_tokens + len(tree.tokens)
        is_loose = n_tokens >= WORTH_A_CALL and size - n_tokens - len(tree.tokens) > n_tokens // 4
        if batch and (size > tokens or is_loose):
            yield batch
            batch, n_tokens = [], 0
        batch.append(tree)
        n_tokens += len(tree.tokens)
    if batch:
        yield batch
