"""What people see and change of their own, signed in by mail; and a link from a mail that cuts one app off.

``overview``, ``access``, ``personal_tokens`` and ``cut_off`` hold the steps, each transaction one method; a file
``*_doors`` beside each has its pages and forms; ``doors`` what they share.
"""

from collections.abc import Callable

from fastapi import APIRouter

from gatepost_idp.account.cut_off_doors import cut_off_doors
from gatepost_idp.account.doors import AccountPages, access_doors
from gatepost_idp.account.overview_doors import overview_doors
from gatepost_idp.account.token_doors import token_doors
from gatepost_idp.signin.guests import Door


def router(own: AccountPages, brake: Callable[[Door], Door]) -> APIRouter:
    """Every address below /account; ``brake`` stands where a stranger can make a request be stored."""
    doors = APIRouter(prefix="/account", include_in_schema=False)
    overview_doors(own, doors, brake)
    access_doors(own, doors, brake)
    token_doors(own, doors)
    cut_off_doors(own, doors)
    return doors
