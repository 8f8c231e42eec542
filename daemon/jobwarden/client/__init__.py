"""What applications import: add jobs, look at them, follow and change them; or use them as a message queue."""

from jobwarden.client.asynchronous import AsyncClient
from jobwarden.client.client import Client
from jobwarden.client.message import MessageJob, MessageStatus
from jobwarden.client.queue import JobQueue

__all__ = ["AsyncClient", "Client", "JobQueue", "MessageJob", "MessageStatus"]
