"""The admin pages: people, clients, connections, backends, figures, the state and the audit log.

``people``, ``clients``, ``connections``, ``backends``, ``events``, ``figures`` and ``state`` contain the steps, one
method per transaction; ``acts`` checks the admin role in the transaction of each change and records who made it; the
``*_doors`` files have the routes and pages, and ``doors`` has what they share. Only the command line gives the role.
"""

from collections.abc import Callable

from fastapi import APIRouter

from gatepost_idp.admin.backend_doors import backend_doors
from gatepost_idp.admin.client_doors import client_doors
from gatepost_idp.admin.connection_doors import connection_doors
from gatepost_idp.admin.doors import AdminPages
from gatepost_idp.admin.overview_doors import overview_doors, way_out
from gatepost_idp.admin.people_doors import people_doors
from gatepost_idp.signin.guests import Door


def router(own: AdminPages, brake: Callable[[Door], Door]) -> APIRouter:
    """The routes below /admin; ``brake`` limits those where a visit that is not signed in stores a request."""
    doors = APIRouter(prefix="/admin", include_in_schema=False)
    overview_doors(own, doors, brake)
    way_out(own, doors)
    people_doors(own, doors, brake)
    client_doors(own, doors, brake)
    connection_doors(own, doors, brake)
    backend_doors(own, doors, brake)
    return doors
