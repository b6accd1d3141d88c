"""Families of distributions over numbers, one file each."""

from .base import Family as Family, Observed as Observed
from .counts import Geometric as Geometric, Poisson as Poisson
from .dirichlet import Beta as Beta, Dirichlet as Dirichlet
from .gamma import Exponential as Exponential, Gamma as Gamma
from .laplace import Laplace as Laplace
from .normal import (
    LogNormal as LogNormal,
    MultivariateNormal as MultivariateNormal,
    Normal as Normal,
)
from .positive import Log as Log
from .uniform import Uniform as Uniform
from .von_mises import VonMises as VonMises
