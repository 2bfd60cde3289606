"""What is sold: products, their variants, and each store's listings of them."""

from enum import Enum


class ProductKind(Enum):
    GOOD = "GOOD"
    MENU_ITEM = "MENU_ITEM"


class Diet(Enum):
    VEG = "VEG"
    NON_VEG = "NON_VEG"
    EGG = "EGG"
    VEGAN = "VEGAN"


class Unit(Enum):
    """What one unit of a variant is: quantities are integers of it."""

    PIECE = "PIECE"
    GRAM = "GRAM"
    MILLILITRE = "MILLILITRE"
