"""Invented people: names composed from lists, addresses in reserved domains, numbers that no two of them share."""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass

_GIVEN = (
    "Jana", "Petra", "Eva", "Lucie", "Tereza", "Hana", "Anna", "Marta", "Ivana", "Zuzana", "Jan", "Petr", "Pavel",
    "Tomáš", "Jakub", "Martin", "Ondřej", "Lukáš", "Filip", "Adam", "Lena", "Katharina", "Sophie", "Marie", "Jonas",
    "Felix", "Lukas", "Maximilian", "Paul", "Agnieszka", "Zofia", "Katarzyna", "Piotr", "Michał", "Andrzej", "Emma",
    "Olivia", "Grace", "Chloe", "Harry", "Oliver", "George", "Arthur", "Ingrid", "Astrid", "Lars", "Sven", "Giulia",
    "Chiara", "Marco", "Luca", "Camille", "Élodie", "Hugo", "Théo", "Inês", "Beatriz", "Tiago", "Rui", "Noor", "Sanne",
    "Daan", "Bram", "Aino", "Elina", "Eero", "Mikko", "Ilona", "Réka", "Bence", "Gergő",
)  # fmt: skip
_FAMILY = (
    "Nováková", "Svobodová", "Dvořáková", "Černá", "Procházková", "Kučerová", "Veselá", "Horáková", "Novák", "Svoboda",
    "Dvořák", "Černý", "Procházka", "Kučera", "Veselý", "Horák", "Müller", "Schmidt", "Schneider", "Fischer", "Weber",
    "Wagner", "Becker", "Hoffmann", "Kowalska", "Nowak", "Wiśniewska", "Wójcik", "Kamińska", "Lewandowska", "Smith",
    "Taylor", "Brown", "Walker", "Hughes", "Bennett", "Lindqvist", "Bergström", "Johansson", "Rossi", "Ferrari",
    "Esposito", "Bianchi", "Dubois", "Lefèvre", "Moreau", "Laurent", "Silva", "Ferreira", "Almeida", "Jansen", "Visser",
    "Bakker", "Korhonen", "Virtanen", "Nieminen", "Nagy", "Kovács", "Szabó", "Tóth",
)  # fmt: skip
_FIRM = (
    "Nordwind", "Kestrel", "Harborlight", "Bluepine", "Silverbrook", "Amberfield", "Stonebridge", "Larkspur", "Redwell",
    "Oakhaven", "Fernhill", "Cloudmere", "Ironvale", "Westmark", "Brightwater", "Greyrock", "Sunmeadow", "Hollowbeck",
    "Starling", "Millrace", "Copperleaf", "Thornfield", "Riverbend", "Moorgate",
)  # fmt: skip
_TRADE = (
    "Logistics", "Foods", "Textiles", "Analytics", "Energy", "Press", "Instruments", "Robotics", "Travel", "Insurance",
    "Optics", "Tooling",
)  # fmt: skip
_INDUSTRIES = (
    "Manufacturing", "Retail", "Logistics", "Health care", "Finance", "Public sector", "Education", "Media", "Energy",
)  # fmt: skip
_ROLES = (
    "Head of Procurement", "Product Manager", "Software Engineer", "Chief Information Officer", "Data Analyst",
    "Marketing Director", "Operations Manager", "Support Lead", "Founder", "Compliance Officer",
)  # fmt: skip
_DOMAINS = ("example.com", "example.org", "example.net")
_DIALLING = ("+42060", "+42072", "+42077", "+49151", "+43664", "+48501")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who never was, with everything that the company's systems know them by."""

    name: str
    email: str
    phone: str
    account: str
    cookie: str
    ip: str
    company: str
    industry: str
    role: str


def invent(count: int, rng: random.Random) -> list[Person]:
    """So many people, all different in every identifier (telephone numbers in their last seven digits already)."""
    return [_person(n, rng) for n in range(count)]


def _person(n: int, rng: random.Random) -> Person:
    given, family = rng.choice(_GIVEN), rng.choice(_FAMILY)
    firm = f"{rng.choice(_FIRM)} {rng.choice(_TRADE)}"
    domain = f"{firm.lower().replace(' ', '-')}.example" if rng.random() < 0.6 else rng.choice(_DOMAINS)
    subscriber = 1_000_000 + (n * 7919 + 2_345_678) % 9_000_000  # a bijection: 7919 and 9,000,000 are coprime
    return Person(
        name=f"{given} {family}",
        email=f"{ascii_only(given)}.{ascii_only(family)}.{n}@{domain}".lower(),
        phone=f"{rng.choice(_DIALLING)}{subscriber}",
        account=f"AC-{(n * 48_271 + 11) % 90_000_000 + 10_000_000}",
        cookie=f"ck.{rng.getrandbits(96):024x}",
        ip=f"2001:db8:{n >> 16:x}:{n & 0xFFFF:x}::{rng.randrange(1, 65_536):x}",
        company=firm,
        industry=rng.choice(_INDUSTRIES),
        role=rng.choice(_ROLES),
    )


def ascii_only(text: str) -> str:
    """Without accents, as people write their names in addresses."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def as_typed(email: str, n: int) -> str:
    """An address as forms receive it: now and then in capitals, or with a blank that was copied along."""
    if n % 37 == 0:
        return email.upper()
    return f"{email} " if n % 53 == 0 else email


def as_dialled(phone: str, n: int) -> str:
    """A telephone number as people write it: national, with blanks, with 00, or in E.164."""
    if n % 4 == 1 and phone.startswith("+420"):
        return f"{phone[4:7]} {phone[7:10]} {phone[10:]}"
    if n % 4 == 2:
        return f"00{phone[1:]}"
    return f"{phone[:-6]} {phone[-6:-3]}-{phone[-3:]}" if n % 4 == 3 else phone
