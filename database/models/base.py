"""What all tables share: names of constraints, and how a Decimal is kept."""

from decimal import Decimal
from typing import ClassVar

from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase

from database.types import DecimalText

ID = String(64)
NAME = String(64)
INSTRUMENT = String(96)


class Base(DeclarativeBase):
    """Declarative base with constraint names, so that migrations can undo them on every database."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[type, object]] = {Decimal: DecimalText()}
