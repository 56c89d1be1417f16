"""Pages for people with the admin role: people, clients, connections, backends, figures, the state, the audit log.

``people``, ``clients``, ``connections``, ``backends``, ``events``, ``figures`` and ``state`` hold the steps, each
transaction one method; ``acts`` lets each change through only while the role stands, and writes who made it; a file
``*_doors`` has the pages and forms, and ``doors`` what they share. The role itself is given by the command line alone.
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
    """Every address below /admin; ``brake`` stands where a stranger can make a request be stored."""
    doors = APIRouter(prefix="/admin", include_in_schema=False)
    overview_doors(own, doors, brake)
    way_out(own, doors)
    people_doors(own, doors, brake)
    client_doors(own, doors, brake)
    connection_doors(own, doors, brake)
    backend_doors(own, doors, brake)
    return doors
