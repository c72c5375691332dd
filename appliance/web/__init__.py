"""Service 2: the settings page. Server-rendered, works without JavaScript, one module and one template a page."""

from appliance.web.app import create_app

__all__ = ["create_app"]
