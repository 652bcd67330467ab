"""The gateway of the containers, run by this machine's nginx before a platform that runs without containers."""

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from porchlight.installation import Running
from porchlight.local.processes import free_port
from tests.support import deploy_tools

GATEWAY = deploy_tools.ROOT / "deploy" / "gateway"
DEFAULTS = {
    "GATEWAY_REQUESTS_PER_S": "500",
    "GATEWAY_BURST": "1000",
    "GATEWAY_CONNECTIONS": "2000",
    "GATEWAY_WORKER_CONNECTIONS": "8192",
    "GATEWAY_TRUSTED_PROXY": "127.0.0.1/32",
}


def rendered(folder: Path, running: Running, port: int, settings: Mapping[str, str]) -> Path:
    """The templates as the image renders them, but for names of the containers' network; returns the main file."""
    main, site = ((GATEWAY / f"{name}.conf.template").read_text() for name in ("nginx", "default"))
    for name, value in {**DEFAULTS, **settings}.items():
        main, site = main.replace(f"${{{name}}}", value), site.replace(f"${{{name}}}", value)
    addresses = {"intake": running.intake, "router": running.router, "agent-presence": running.presence}
    addresses["reporting"] = running.reporting
    upstreams = "".join(f"  {name} {urls[0]};\n" for name, urls in addresses.items())
    site = f"map $service $upstream {{\n{upstreams}}}\n" + site
    site = site.replace("proxy_pass http://$service:8000;", "proxy_pass $upstream;")
    site = site.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/dev/stdout", str(folder / "access.log"))
    site = re.sub(r"^\s*resolver .*$", "", site, flags=re.M)
    main = main.replace("/run/nginx.pid", str(folder / "nginx.pid")).replace("/dev/stderr", str(folder / "error.log"))
    main = main.replace("/etc/nginx/conf.d/default.conf", str(folder / "default.conf"))
    main = main.replace("include /etc/nginx/mime.types;", "")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"  {kind}_temp_path {folder / kind};\n" for kind in kinds)
    main = main.replace("http {\n", f"http {{\n{places}")
    assert "${" not in main + site, "a setting has no value"
    (folder / "default.conf").write_text(site)
    (folder / "nginx.conf").write_text(main)
    return folder / "nginx.conf"


@contextmanager
def gateway(folder: Path, running: Running, **settings: str) -> Iterator[int]:
    """The port of a gateway that runs during the block."""
    program = deploy_tools.find("nginx")
    assert program, "nginx is not here: `make deploy-tools`, or install it"
    port = free_port()
    main = rendered(folder, running, port, settings)
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(main), "-g", "daemon off;"]
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
                    break
                except httpx.TransportError:
                    assert process.poll() is None and time.monotonic() < deadline, (folder / "error.log").read_text()
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)
