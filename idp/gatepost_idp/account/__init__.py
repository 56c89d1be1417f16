"""The account pages, where people see and change what is theirs, and the mailed link that ends one connection.

``overview``, ``access``, ``personal_tokens`` and ``cut_off`` contain the steps, one method per transaction; the
``*_doors`` files have the routes and pages; ``doors`` has what they share.
"""

from collections.abc import Callable

from fastapi import APIRouter

from gatepost_idp.account.cut_off_doors import cut_off_doors
from gatepost_idp.account.doors import AccountPages, access_doors
from gatepost_idp.account.overview_doors import overview_doors
from gatepost_idp.account.token_doors import token_doors
from gatepost_idp.signin.guests import Door


def router(own: AccountPages, brake: Callable[[Door], Door]) -> APIRouter:
    """The routes below /account; ``brake`` limits those where a visit that is not signed in stores a request."""
    doors = APIRouter(prefix="/account", include_in_schema=False)
    overview_doors(own, doors, brake)
    access_doors(own, doors, brake)
    token_doors(own, doors)
    cut_off_doors(own, doors)
    return doors
