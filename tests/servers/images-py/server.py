"""An MCP server on the official Python SDK, for the end-to-end tests.

It checks none of its own bounds and confines itself in no way: what holds it is what the tests are about.
Every tool that runs leaves a file behind, so that a test can see on the host whether it ran.
"""

import os
import pathlib
import uuid

from mcp.server.mcpserver import MCPServer

FOLDER = pathlib.Path(os.environ.get("IMAGES_DIR", "/images"))

server = MCPServer("images-py")


def leave_mark(tool: str) -> None:
    """Creates FOLDER/ran.TOOL.<random>: one file an execution."""
    (FOLDER / f"ran.{tool}.{uuid.uuid4().hex}").write_text("ran\n")


@server.tool()
def generate_image(prompt: str, width: int = 1024, height: int = 768, steps: int = 1, n: int = 1) -> str:
    """Pretends to draw: leaves a mark and says what it was asked."""
    leave_mark("generate_image")
    return f"{n} image(s) of {width}x{height} in {steps} step(s): {prompt}"


@server.tool()
def purge_images(confirm: bool = True) -> str:
    """A tool that no policy of the tests lists."""
    leave_mark("purge_images")
    return f"purged: {confirm}"


if __name__ == "__main__":
    server.run(transport="stdio")
