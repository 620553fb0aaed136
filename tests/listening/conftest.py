"""Fixtures of this folder."""

from __future__ import annotations

import pytest
from kinds import driver_url
from sqlalchemy.ext.asyncio import create_async_engine

DRIVERS = ["psycopg", "asyncpg"]


@pytest.fixture(params=DRIVERS)
def async_engine(request, url):
    """An asyncio engine of each driver in turn, with a pool."""
    return create_async_engine(driver_url(url, request.param))
