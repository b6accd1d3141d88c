"""Softmax of hidden · weight, streamed: arrays in, arrays out.

A measure of such a softmax is a function of a few sums over its classes. `class_sum` adds
them up over tiles of the vocabulary (`tiles`), each made from its sources (`sources`) as
a statistic says (`statistics`). Its derivative is a linear map whose transpose is another
loop over the same tiles (`linear_map`).
"""

from .alignment import Kind as Kind
from .class_sum import class_sum as class_sum
from .pairs import (
    Bregman as Bregman,
    CodeLength as CodeLength,
    pair_sum as pair_sum,
    Skewed as Skewed,
    TermOf as TermOf,
)
from .sources import (
    Dense as Dense,
    Linear as Linear,
    OfClasses as OfClasses,
    OneHot as OneHot,
    Source as Source,
)
from .statistics import (
    ChoiceOf as ChoiceOf,
    Depth as Depth,
    DepthOf as DepthOf,
    LeaderOf as LeaderOf,
    SpreadOf as SpreadOf,
    Together as Together,
    ToldOf as ToldOf,
    WeightOf as WeightOf,
)
