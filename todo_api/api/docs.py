"""The OpenAPI document, and the page /docs: Swagger UI, where the operations can be tried."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

# Change version and hashes together: openssl dgst -sha384 -binary FILE | openssl base64 -A
_SWAGGER_UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0"
_STYLE_HASH = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_SCRIPT_HASH = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"

# The address of the page takes the place of the document's server, so that the page also works
# behind a REST API's stage and below a base path. Swagger UI replaces the text in its element.
_PAGE = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Todo API</title>
</head>
<body>
<div id="swagger-ui">
<p>This page needs Swagger UI from cdn.jsdelivr.net, which is not loaded. The API does not need it:
see <a href="openapi.json">openapi.json</a>.</p>
</div>
<link rel="stylesheet" href="{_SWAGGER_UI}/swagger-ui.css"
  integrity="{_STYLE_HASH}" crossorigin="anonymous">
<script src="{_SWAGGER_UI}/swagger-ui-bundle.js"
  integrity="{_SCRIPT_HASH}" crossorigin="anonymous"></script>
<script type="module">
if (window.SwaggerUIBundle) {{
  const response = await fetch("openapi.json");
  const spec = await response.json();
  const base = new URL(".", location).href.slice(0, -1);
  SwaggerUIBundle({{
    spec: {{ ...spec, servers: [{{ url: base }}] }},
    dom_id: "#swagger-ui",
    deepLinking: true,
    // Stores the credentials in the browser: only on the local server.
    persistAuthorization: ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname),
  }});
}}
</script>
</body>
</html>
"""

router = APIRouter(include_in_schema=False)


# FastAPI's own route would leave the log's `route` empty.
@router.get("/openapi.json")
async def get_document(request: Request) -> JSONResponse:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", response_class=HTMLResponse)
async def show_docs() -> str:
    """Return the page."""
    return _PAGE
