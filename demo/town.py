"""The demo town: who lives and sells there. Around Koramangala in Bengaluru, with nobody's telephone numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from demo.catalogue import Good, goods, late_night
from domain.identity import App, MerchantRole
from domain.merchants import Hours
from domain.places import Point, PostalAddress

CITY = "Bengaluru"
PASSWORD = "haat-demo-town"  # of every account here; they refuse to exist in production
AWAY_M = 6_000  # so far the shops deliver: every address below is near enough to every shop


def daily(opens: int, closes: int) -> tuple[Hours, ...]:
    """The same hours each day; `closes` past 24 is on the next."""
    return tuple(Hours(weekday, opens * 60, closes * 60) for weekday in range(7))


ALWAYS: tuple[Hours, ...] = ()  # a store that states no hours is open all day


@dataclass(frozen=True)
class Shop:
    """Amounts in paise. `kitchen` sells the menu, which its till switches on and off uncounted."""

    slug: str
    name: str
    point: Point
    hours: Sequence[Hours]
    goods: Sequence[Good] = ()
    kitchen: bool = False
    prep_minutes: int = 10
    delivery_minor: int = 2900
    packaging_minor: int = 0
    minimum_minor: int = 9900


@dataclass(frozen=True)
class Business:
    slug: str
    name: str
    shops: Sequence[Shop]


@dataclass(frozen=True)
class Connection:
    """A provider that speaks for one of the shops, which it knows by an id of its own."""

    provider: str
    merchant: str
    shop: str
    external_id: str


@dataclass(frozen=True)
class Person:
    name: str
    phone: str
    email: str
    app: App = App.CUSTOMER
    merchant: str | None = None
    role: MerchantRole | None = None
    shops: Sequence[str] = ()  # a clerk's
    addresses: Sequence[PostalAddress] = ()


# One business has the counted shop and the uncounted kitchen, so that one sign-in sees a till and a warehouse at work.
NAMMA = Business(
    "namma-bazaar",
    "Namma Bazaar",
    (
        Shop("namma-bazaar-koramangala", "Namma Bazaar Koramangala", Point(12.9352, 77.6245), ALWAYS, goods("grocery")),
        Shop(
            "namma-kitchen-koramangala",
            "Namma Kitchen Koramangala",
            Point(12.9339, 77.6301),
            ALWAYS,
            kitchen=True,
            prep_minutes=20,
            delivery_minor=3500,
            packaging_minor=500,
        ),
        Shop("namma-bazaar-hsr", "Namma Bazaar HSR Layout", Point(12.9121, 77.6446), daily(6, 23), goods("grocery")),
    ),
)
NIGHT_OWL = Business(
    "night-owl",
    "Night Owl",
    (
        Shop(
            "night-owl-ejipura",
            "Night Owl Ejipura",
            Point(12.9418, 77.6312),
            daily(19, 32),
            late_night(),
            delivery_minor=3900,
            minimum_minor=0,
        ),
        Shop("crumb-and-co", "Crumb & Co Bakery", Point(12.9299, 77.6186), daily(7, 22), goods("bakery"), minimum_minor=0),
        Shop("sanjeevani-pharmacy", "Sanjeevani Pharmacy", Point(12.9378, 77.6201), ALWAYS, goods("pharmacy"), minimum_minor=0),
    ),
)
BUSINESSES = (NAMMA, NIGHT_OWL)
CONNECTIONS = (
    Connection("petpooja", NAMMA.slug, "namma-kitchen-koramangala", "nammak01"),
    Connection("wms", NAMMA.slug, "namma-bazaar-koramangala", "BLR_DS1"),
)


def home(line1: str, area: str, postal_code: str, lat: float, lng: float) -> PostalAddress:
    return PostalAddress(line1, area, CITY, postal_code, Point(lat, lng), None)


# No Indian number begins with 5: these ring nobody.
PEOPLE = (
    Person(
        "Asha Rao",
        "+915550000001",
        "asha@example.com",
        addresses=(
            home("Tower B, Forum Road", "Adugodi", "560030", 12.9412, 77.6105),
            home("14, 5th Cross", "Koramangala 5th Block", "560095", 12.9345, 77.6190),
        ),
    ),
    Person(
        "Ravi Kumar",
        "+915550000002",
        "ravi@example.com",
        addresses=(home("221, 19th Main", "HSR Layout Sector 3", "560102", 12.9140, 77.6380),),
    ),
    Person("Meera Shetty", "+915550000011", "meera@example.com", App.MERCHANT, NAMMA.slug, MerchantRole.OWNER),
    Person("Farhan Ali", "+915550000012", "farhan@example.com", App.MERCHANT, NAMMA.slug, MerchantRole.MANAGER),
    Person(
        "Lakshmi N",
        "+915550000013",
        "lakshmi@example.com",
        App.MERCHANT,
        NAMMA.slug,
        MerchantRole.CLERK,
        ("namma-bazaar-koramangala",),
    ),
    Person("Joseph D'Souza", "+915550000014", "joseph@example.com", App.MERCHANT, NIGHT_OWL.slug, MerchantRole.OWNER),
    Person("Manju Gowda", "+915550000021", "manju@example.com", App.RIDER),
    Person("Imran Sheikh", "+915550000022", "imran@example.com", App.RIDER),
    Person("Priya Das", "+915550000023", "priya@example.com", App.RIDER),
    Person("Suresh Babu", "+915550000024", "suresh@example.com", App.RIDER),
    Person("Anjali Menon", "+915550000025", "anjali@example.com", App.RIDER),
    Person("Dev Support", "+915550000031", "support@example.com", App.SUPPORT),
)
