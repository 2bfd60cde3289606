# ruff: noqa: E501  (a menu reads as a list)
"""The menu of the town's kitchen, as its till numbers it. Prices in rupees."""

from collections.abc import Sequence
from dataclasses import dataclass

from domain.catalog import Diet


@dataclass(frozen=True)
class Option:
    id: str
    name: str
    price: int = 0


@dataclass(frozen=True)
class Choice:
    """A group of options; how many may be taken belongs to the dish that offers it."""

    id: str
    name: str
    least: int
    most: int
    options: Sequence[Option]


@dataclass(frozen=True)
class Size:
    id: str
    name: str
    price: int


@dataclass(frozen=True)
class Dish:
    """`price` of one that comes in one size; else `sizes`."""

    id: str
    name: str
    section: str
    diet: Diet
    description: str
    price: int = 0
    sizes: Sequence[Size] = ()
    choices: Sequence[Choice] = ()
    packaging: int = 5


CHUTNEY = Choice(
    "301",
    "Chutney",
    1,
    2,
    (
        Option("9001", "Coconut chutney"),
        Option("9002", "Tomato chutney"),
        Option("9003", "Mint chutney"),
        Option("9004", "Gunpowder", 10),
    ),
)
DOSA_EXTRAS = Choice(
    "302",
    "Make it richer",
    0,
    3,
    (Option("9011", "Ghee", 20), Option("9012", "Butter", 20), Option("9013", "Cheese", 40), Option("9014", "Extra palya", 25)),
)
SPICE = Choice("303", "How hot", 1, 1, (Option("9021", "Mild"), Option("9022", "Medium"), Option("9023", "Hot")))
BREAD = Choice(
    "304",
    "Bread with it",
    1,
    1,
    (Option("9031", "Two chapatis"), Option("9032", "Two parottas", 20), Option("9033", "Jeera rice", 30)),
)
SUGAR = Choice("305", "Sugar", 1, 1, (Option("9041", "Normal"), Option("9042", "Less"), Option("9043", "None")))
THALI_EXTRAS = Choice(
    "306",
    "More on the plate",
    0,
    4,
    (Option("9051", "Papad", 10), Option("9052", "Curd rice", 40), Option("9053", "Sweet of the day", 45)),
)
RAITA = Choice("307", "Raita", 0, 1, (Option("9061", "Onion raita", 25), Option("9062", "Boondi raita", 30)))


def sizes(*named: tuple[str, str, int]) -> Sequence[Size]:
    return tuple(Size(*one) for one in named)


VEG, NON_VEG, EGG, VEGAN = Diet.VEG, Diet.NON_VEG, Diet.EGG, Diet.VEGAN
MENU = (
    # Tiffin
    Dish("1001", "Idli", "Tiffin", VEGAN, "Steamed rice cakes, sambar and chutney", sizes=sizes(("1101", "2 pieces", 50), ("1102", "4 pieces", 90)), choices=(CHUTNEY,)),
    Dish("1002", "Medu Vada", "Tiffin", VEGAN, "Crisp urad fritters", sizes=sizes(("1103", "1 piece", 35), ("1104", "2 pieces", 65)), choices=(CHUTNEY,)),
    Dish("1003", "Idli Vada", "Tiffin", VEGAN, "Two idlis and a vada", 85, choices=(CHUTNEY,)),
    Dish("1004", "Rava Idli", "Tiffin", VEG, "With cashew and a dab of ghee", 70, choices=(CHUTNEY,)),
    Dish("1005", "Khara Bath", "Tiffin", VEG, "Semolina with vegetables", 60, choices=(CHUTNEY,)),
    Dish("1006", "Kesari Bath", "Tiffin", VEG, "Semolina, saffron and ghee", 60),
    Dish("1007", "Chow Chow Bath", "Tiffin", VEG, "Half khara, half kesari", 95),
    Dish("1008", "Pongal", "Tiffin", VEG, "Rice and moong with pepper and ghee", 80, choices=(CHUTNEY,)),
    Dish("1009", "Poori Saagu", "Tiffin", VEGAN, "Three pooris, mixed vegetable saagu", 90),
    # Dosa
    Dish("1011", "Plain Dosa", "Dosa", VEGAN, "Thin and crisp", 70, choices=(CHUTNEY, DOSA_EXTRAS)),
    Dish("1012", "Masala Dosa", "Dosa", VEG, "Potato palya inside, red chutney spread", sizes=sizes(("1111", "Regular", 90), ("1112", "Family", 210)), choices=(CHUTNEY, DOSA_EXTRAS)),
    Dish("1013", "Mysore Masala Dosa", "Dosa", VEG, "With garlic and red chilli paste", 105, choices=(CHUTNEY, DOSA_EXTRAS)),
    Dish("1014", "Rava Dosa", "Dosa", VEG, "Lacy semolina dosa", 95, choices=(CHUTNEY, DOSA_EXTRAS)),
    Dish("1015", "Onion Rava Dosa", "Dosa", VEG, "Lacy, with onions", 110, choices=(CHUTNEY, DOSA_EXTRAS)),
    Dish("1016", "Set Dosa", "Dosa", VEG, "Three soft ones with saagu", 85, choices=(CHUTNEY,)),
    Dish("1017", "Neer Dosa", "Dosa", VEGAN, "Coastal, from rice and coconut", 80, choices=(CHUTNEY,)),
    Dish("1018", "Egg Dosa", "Dosa", EGG, "Two eggs on a plain dosa", 110, choices=(CHUTNEY, SPICE)),
    Dish("1019", "Uttapam", "Dosa", VEG, "Thick, with what you like on top", sizes=sizes(("1113", "Onion", 95), ("1114", "Tomato", 95), ("1115", "Mixed", 110)), choices=(CHUTNEY,)),
    # Rice and meals
    Dish("1021", "Bisi Bele Bath", "Rice", VEG, "Rice, toor dal, vegetables and ghee", 110),
    Dish("1022", "Lemon Rice", "Rice", VEGAN, "With peanuts", 85),
    Dish("1023", "Curd Rice", "Rice", VEG, "With pomegranate and mustard", 85),
    Dish("1024", "Vegetable Pulao", "Rice", VEG, "Mint and whole spices", 120, choices=(RAITA,)),
    Dish("1025", "Vegetable Biryani", "Rice", VEG, "Dum-cooked, with salan", sizes=sizes(("1121", "Half", 130), ("1122", "Full", 220)), choices=(SPICE, RAITA), packaging=10),
    Dish("1026", "Chicken Biryani", "Rice", NON_VEG, "Donne style, short-grain rice", sizes=sizes(("1123", "Half", 180), ("1124", "Full", 290)), choices=(SPICE, RAITA), packaging=10),
    Dish("1027", "South Indian Thali", "Rice", VEG, "Rice, sambar, rasam, two palyas, curd", 180, choices=(THALI_EXTRAS,), packaging=15),
    Dish("1028", "Mini Meals", "Rice", VEG, "Sambar rice, curd rice and a palya", 120, choices=(THALI_EXTRAS,), packaging=10),
    # Curries
    Dish("1031", "Paneer Butter Masala", "Curries", VEG, "Tomato and cashew gravy", 210, choices=(BREAD, SPICE), packaging=10),
    Dish("1032", "Kadai Vegetables", "Curries", VEGAN, "Peppers and coriander seed", 180, choices=(BREAD, SPICE), packaging=10),
    Dish("1033", "Dal Tadka", "Curries", VEG, "Yellow dal, cumin and garlic", 150, choices=(BREAD,), packaging=10),
    Dish("1034", "Egg Curry", "Curries", EGG, "Two eggs, onion gravy", 160, choices=(BREAD, SPICE), packaging=10),
    Dish("1035", "Chicken Ghee Roast", "Curries", NON_VEG, "Kundapur style", 290, choices=(BREAD, SPICE), packaging=10),
    Dish("1036", "Fish Curry", "Curries", NON_VEG, "Mangalorean, with coconut", 280, choices=(BREAD, SPICE), packaging=10),
    # Snacks
    Dish("1041", "Mangalore Bajji", "Snacks", VEG, "Six, with chutney", 70, choices=(CHUTNEY,)),
    Dish("1042", "Mirchi Bajji", "Snacks", VEGAN, "Four, stuffed", 70),
    Dish("1043", "Maddur Vada", "Snacks", VEGAN, "Two, with onion", 70, choices=(CHUTNEY,)),
    Dish("1044", "Gobi Manchurian", "Snacks", VEGAN, "Dry or in gravy", sizes=sizes(("1131", "Dry", 140), ("1132", "Gravy", 150)), choices=(SPICE,)),
    Dish("1045", "Chicken 65", "Snacks", NON_VEG, "Curry leaves and chilli", 210, choices=(SPICE,)),
    # Drinks and sweets
    Dish("1051", "Filter Coffee", "Drinks", VEG, "Decoction of the house", sizes=sizes(("1141", "Regular", 30), ("1142", "Flask of four", 110)), choices=(SUGAR,), packaging=3),
    Dish("1052", "Masala Chai", "Drinks", VEG, "Ginger and cardamom", sizes=sizes(("1143", "Regular", 25), ("1144", "Flask of four", 95)), choices=(SUGAR,), packaging=3),
    Dish("1053", "Badam Milk", "Drinks", VEG, "Hot or cold", 60, packaging=3),
    Dish("1054", "Majjige", "Drinks", VEG, "Spiced buttermilk", 30, packaging=3),
    Dish("1055", "Fresh Lime Soda", "Drinks", VEGAN, "Sweet, salt or both", 50, choices=(SUGAR,), packaging=3),
    Dish("1061", "Gulab Jamun", "Sweets", VEG, "Two, warm", 60),
    Dish("1062", "Mysore Pak", "Sweets", VEG, "Two pieces, ghee", 70),
    Dish("1063", "Holige", "Sweets", VEG, "With ghee and milk", 65),
)  # fmt: skip
SECTIONS = tuple(dict.fromkeys(dish.section for dish in MENU))
CHOICES = tuple({choice.id: choice for dish in MENU for choice in dish.choices}.values())
