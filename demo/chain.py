"""A chain as large as real ones: 134 stores in 32 Indian cities, all with one catalogue."""

from collections.abc import Iterator
from math import cos, pi, radians, sin, sqrt

from demo.catalogue import everything
from demo.town import Business, Shop, daily
from domain.places import Point

# City, its middle, and how many stores it has.
CITIES = (
    ("Mumbai", 19.0760, 72.8777, 10),
    ("Delhi", 28.6139, 77.2090, 10),
    ("Bengaluru", 12.9716, 77.5946, 10),
    ("Hyderabad", 17.3850, 78.4867, 8),
    ("Chennai", 13.0827, 80.2707, 8),
    ("Kolkata", 22.5726, 88.3639, 7),
    ("Pune", 18.5204, 73.8567, 7),
    ("Ahmedabad", 23.0225, 72.5714, 6),
    ("Gurugram", 28.4595, 77.0266, 5),
    ("Noida", 28.5355, 77.3910, 5),
    ("Jaipur", 26.9124, 75.7873, 4),
    ("Lucknow", 26.8467, 80.9462, 4),
    ("Surat", 21.1702, 72.8311, 4),
    ("Kochi", 9.9312, 76.2673, 4),
    ("Chandigarh", 30.7333, 76.7794, 3),
    ("Indore", 22.7196, 75.8577, 3),
    ("Nagpur", 21.1458, 79.0882, 3),
    ("Coimbatore", 11.0168, 76.9558, 3),
    ("Visakhapatnam", 17.6868, 83.2185, 3),
    ("Vadodara", 22.3072, 73.1812, 3),
    ("Mysuru", 12.2958, 76.6394, 3),
    ("Bhopal", 23.2599, 77.4126, 2),
    ("Patna", 25.5941, 85.1376, 2),
    ("Kanpur", 26.4499, 80.3319, 2),
    ("Ludhiana", 30.9010, 75.8573, 2),
    ("Nashik", 19.9975, 73.7898, 2),
    ("Thiruvananthapuram", 8.5241, 76.9366, 2),
    ("Mangaluru", 12.9141, 74.8560, 2),
    ("Guwahati", 26.1445, 91.7362, 2),
    ("Bhubaneswar", 20.2961, 85.8245, 2),
    ("Ranchi", 23.3441, 85.3096, 2),
    ("Dehradun", 30.3165, 78.0322, 1),
)
KM_A_DEGREE = 111.2
GOLDEN_ANGLE = pi * (3 - sqrt(5))  # spreads any number of stores evenly around a middle


def chain() -> tuple[Business, dict[str, str]]:
    """The chain, and the city of each store by its slug."""
    stores = list(_stores())
    return Business("sabka-kirana", "Sabka Kirana", tuple(shop for shop, _ in stores)), {shop.slug: city for shop, city in stores}


def _stores() -> Iterator[tuple[Shop, str]]:
    catalogue = tuple(everything())
    for city, lat, lng, stores in CITIES:
        for number in range(1, stores + 1):
            km, angle = 2.2 * sqrt(number - 1), number * GOLDEN_ANGLE
            north, east = km * cos(angle), km * sin(angle)
            point = Point(lat + north / KM_A_DEGREE, lng + east / (KM_A_DEGREE * cos(radians(lat))))
            slug = f"sabka-kirana-{city.lower()}-{number}"
            yield Shop(slug, f"Sabka Kirana {city} {number}", point, daily(7, 23), catalogue), city
