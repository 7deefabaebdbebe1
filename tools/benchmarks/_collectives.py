"""What a training step of the dense methods sends to other processes, and how long that takes on paper.

Symbols: W processes, g of them on a node; S bytes that each process puts into a collective; β bytes a second and α
seconds of delay of a link. All but the last go round a ring, on which each process sends to the next:

    collective    sent by each process    time
    all-reduce    2 (W − 1)/W · S         2 (W − 1) (S / (W β) + α)
    all-gather    (W − 1) S               (W − 1) (S / β + α)
    broadcast     (W − 1)/W · S           S / β + (W − 1) α
    all-to-all    (W − 1)/W · S           (g − 1)/W · S / β_in + g (W − g)/W · S / β_out + (W − 1) α

A broadcast is sent on by all but the last, hence its mean. A ring over several nodes is as fast as its slowest link: β
is that inside a node, β_in, while W <= g, and else that between nodes, β_out, all adapters of a node together. In an
all-to-all each process sends to each its own part, of which those for other nodes share the way out; while W <= g it
is W in place of g, and nothing goes out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mmengine.config import Config

FLOAT, INDEX = 4, 8
STRIDE = 32  # of the last map of a ResNet


class Collective(NamedTuple):
    """One collective of a step.

    Attributes:
        kind: 'all-reduce', 'all-gather', 'broadcast' or 'all-to-all'.
        payload: S in bytes.
        what: For what.
    """

    kind: str
    payload: int
    what: str = ''


class Link(NamedTuple):
    """Network.

    Attributes:
        node_bandwidth: β inside a node in bytes a second.
        bandwidth: β from node to node.
        latency: α in seconds.
        gpus_per_node: g.
    """

    node_bandwidth: float
    bandwidth: float
    latency: float
    gpus_per_node: int


def sent(collective: Collective, world: int) -> float:
    """Bytes that a process sends, as the mean over processes."""
    once = (world - 1) / world
    share = {'all-reduce': 2 * once, 'all-gather': world - 1, 'broadcast': once, 'all-to-all': once}
    return share[collective.kind] * collective.payload


def seconds(collective: Collective, world: int, link: Link) -> float:
    """Time of a collective."""
    if world == 1:
        return 0.0
    beta = link.node_bandwidth if world <= link.gpus_per_node else link.bandwidth
    hops, near = world - 1, min(world, link.gpus_per_node)
    return {
        'all-reduce': 2 * hops * (collective.payload / (world * beta) + link.latency),
        'all-gather': hops * (collective.payload / beta + link.latency),
        'broadcast': collective.payload / beta + hops * link.latency,
        'all-to-all': collective.payload
        / world
        * ((near - 1) / link.node_bandwidth + near * (world - near) / link.bandwidth)
        + hops * link.latency,
    }[collective.kind]


def of_step(config: Config, parameters: int, batch: int, size: int, world: int) -> list[Collective]:
    """Collectives of a step of ``histomm.DenseMoCo`` in single precision.

    Args:
        config: Of the model, with batch norm of its own in each process.
        parameters: Those with gradient.
        batch: B, images of each process.
        size: Side of a view in pixels.
        world: W.
    """
    cells = math.ceil(size / STRIDE) ** 2
    dim, wide = config.feat_dim, config.neck.in_channels
    encoded = {'global': dim}
    if config.get('matchers'):
        encoded |= {'feature': wide * cells, 'dense': dim * cells}
    queues = ['global', 'dense'] if config.get('matchers') else ['global']
    return [
        Collective('all-reduce', parameters * FLOAT, 'gradients'),
        Collective('all-to-all', batch * 3 * size**2 * FLOAT, 'shuffle: images'),
        Collective('broadcast', world * batch * INDEX, 'shuffle: order'),
        *(
            Collective('all-to-all', batch * numbers * FLOAT, f'shuffle back: {name}')
            for name, numbers in encoded.items()
        ),
        *(Collective('all-gather', batch * dim * FLOAT, f'keys of the {name} queue') for name in queues),
    ]


def exposed(collectives: Sequence[Collective], world: int, link: Link, hiding: float) -> tuple[float, float]:
    """Seconds of all collectives, and those that a step waits for.

    Gradients are sent while the backward pass runs on, so that up to ``hiding`` seconds of their time are not waited
    for. All else is waited for.
    """
    gradients = sum(seconds(one, world, link) for one in collectives if one.what == 'gradients')
    others = sum(seconds(one, world, link) for one in collectives if one.what != 'gradients')
    return gradients + others, max(0.0, gradients - hiding) + others
