"""What applications import: add jobs, look at them, wait for them, cancel and retry them."""

from jobwarden.client.asynchronous import AsyncClient
from jobwarden.client.client import Client

__all__ = ["AsyncClient", "Client"]
