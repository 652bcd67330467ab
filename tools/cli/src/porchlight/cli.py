"""The `porchlight` command. Each function here reads its arguments and calls one module."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.markup import escape
from rich.table import Table

from porchlight.installation import DEFAULT_HOME, Home, HomeFolder, Running, Trouble
from porchlight.jobs.command import app as deployed_app
from porchlight.local.plan import Options
from porchlight.local.processes import Pids, forget_libpq
from porchlight.local.supervisor import Supervisor
from porchlight.ops.keys_command import keys_app, token_app
from porchlight.output import make_console, prepare_streams

console = make_console()
app = App(
    name="porchlight", help="Contacts of any channel, routed to agents at home.", version=version("porchlight-cli")
)
app.command(keys_app)
app.command(token_app)
app.command(deployed_app)
app.command("porchlight.ops.command:app", name="ops")

UP_TIMEOUT_S = 180


def main() -> None:
    """Entry point: trouble that the user can put right is a line and status 2, not a traceback."""
    prepare_streams()
    forget_libpq()
    try:
        app()
    except Trouble as why:
        print(f"porchlight: {why}", file=sys.stderr)
        raise SystemExit(2) from None
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as why:
        if why.filename is None:
            raise
        print(f"porchlight: {why.filename}: {why.strerror}", file=sys.stderr)
        raise SystemExit(2) from None


def say(line: str) -> None:
    """A line of progress."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {escape(line)}")


def supervise(home: Home, options: Options, *, demo: bool = False) -> None:
    """Run a platform in the foreground until it is told to stop."""
    from porchlight.replay.demo_loop import play_for_ever

    # Kafka is asked again until it is up, and what is in its way then stands in the Trouble: no line for every try
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def work() -> None:
        supervisor = Supervisor(home, options, say)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, supervisor.stopping.set)
        playing: list[asyncio.Task[None]] = []

        def when_ready(running: Running) -> None:
            print_urls(running)
            if demo:
                playing.append(asyncio.create_task(play_for_ever(home, say)))

        await supervisor.run(when_ready, before_down=lambda: [task.cancel() for task in playing])

    asyncio.run(work())


def print_urls(running: Running) -> None:
    """Where to look."""
    table = Table(show_header=False, box=None)
    table.add_row("start page", running.reporting[0] + "/")
    for name in ("intake", "router", "presence", "reporting"):
        table.add_row(f"{name} API", getattr(running, name)[0] + "/docs")
    console.print(table)
    say("up: Ctrl-C or `porchlight down` stops it")


@app.command
def run(*, home: HomeFolder = DEFAULT_HOME, demo: bool = True, port_base: int = 8080) -> None:
    """Start everything, play the demo day in a loop, and stop everything on Ctrl-C.

    Parameters
    ----------
    demo
        Without it nothing but the platform runs.
    port_base
        Services answer at +1 to +4, PostgreSQL and Kafka at +20 and +21; 0 takes free ports.
    """
    supervise(Home(home), Options(port_base=port_base), demo=demo)


Seed = Annotated[int | None, Parameter(help="Where the random numbers start; the same seed, the same output.")]


@app.command
def simulate(
    scenario: Path | None = None,
    *,
    cases: Path | None = None,
    calls: Path | None = None,
    day: str | None = None,
    seed: Seed = None,
    replications: int | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Play a scenario, a file of queueing cases, or a recorded day with the router's own core in virtual time.

    Parameters
    ----------
    scenario
        A YAML file; see docs/simulation.md.
    cases
        A JSON file of cases with known answers: every one must hold.
    calls
        A call log; with --day, that day is played beside what was recorded.
    json
        Write the figures to this file too.
    plot
        Draw them to this file (.png or .svg).
    """
    from porchlight.simulate import command

    if sum(one is not None for one in (scenario, cases, calls)) != 1 or (calls is None) != (day is None):
        raise Trouble("give a scenario, or --cases FILE, or --calls FILE with --day YYYY-MM-DD")
    if cases is not None:
        if not command.simulate_cases(cases, seed=seed or 1, json_to=json, console=console):
            raise SystemExit(1)
    elif calls is not None:
        command.simulate_day(
            calls,
            day or "",
            seed=seed or 1,
            replications=replications or 20,
            json_to=json,
            plot_to=plot,
            console=console,
        )
    elif scenario is not None:
        command.simulate_scenario(
            scenario, seed=seed, replications=replications, json_to=json, plot_to=plot, console=console
        )


@app.command
def bench_core(*, json: Path | None = None) -> None:
    """Measure the routing core alone: decisions a second, growth, rebuild, memory, simulator speed."""
    from porchlight.bench import core as measured

    measured.run(json_to=json, console=console)


@app.command
def whatif(
    first: Path, second: Path, *, seed: Seed = None, replications: int | None = None, json: Path | None = None
) -> None:
    """Compare two scenarios under the same random numbers: what would the second policy change?"""
    from porchlight.simulate import command

    command.compare(first, second, seed=seed, replications=replications, json_to=json, console=console)


@app.command
def up(
    *,
    home: HomeFolder = DEFAULT_HOME,
    foreground: bool = False,
    port_base: int = 8080,
    intake: int = 1,
    router: int = 2,
    presence: int = 1,
    reporting: int = 1,
    log_level: str = "info",
) -> None:
    """Start PostgreSQL, Kafka and the services; returns when they are ready.

    Parameters
    ----------
    foreground
        Stay, and stop everything on Ctrl-C.
    port_base
        Services answer at +1 to +4, PostgreSQL and Kafka at +20 and +21; 0 takes free ports.
    """
    place = Home(home)
    options = Options(
        port_base=port_base,
        intake=intake,
        router=router,
        presence=presence,
        reporting=reporting,
        log_level=log_level,
    )
    if foreground:
        supervise(place, options)
        return
    place.make()
    if place.is_locked() is not None:
        place.lock()  # says who runs
    command = [sys.executable, "-m", "porchlight", *sys.argv[1:], "--foreground"]
    log = place.logs / "supervisor.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _wait_until_up(place, child, log)
    print_urls(place.running())


def _wait_until_up(place: Home, child: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + UP_TIMEOUT_S
    mark = log.stat().st_size
    while time.monotonic() < deadline:
        if child.poll() is not None:
            lines = log.read_bytes()[max(0, mark - 1) :].decode(errors="replace").strip().splitlines()
            raise Trouble(lines[-1].removeprefix("porchlight: ") if lines else f"the supervisor ended: see {log}")
        if " up: " in log.read_bytes()[mark:].decode(errors="replace"):
            return
        time.sleep(0.1)
    raise Trouble(f"not ready after {UP_TIMEOUT_S} s: see {log} and `porchlight doctor`")


@app.command
def down(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """Stop the platform; what it knows stays under its folder."""
    place = Home(home)
    pid = place.is_locked()
    if pid is None:
        Pids(place).stop_orphans(say)
        say("nothing runs")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while place.is_locked() is not None:
        if time.monotonic() > deadline:
            raise Trouble(f"the supervisor (pid {pid}) does not stop: see logs/supervisor.log")
        time.sleep(0.1)
    say("stopped")


@app.command
def status(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """What runs, and whether it is ready."""
    import httpx

    place = Home(home)
    running = place.running()
    table = Table("process", "pid", "ready", "address")
    addresses = {f"intake-{n}": url for n, url in enumerate(running.intake, 1)}
    addresses |= {f"router-{n}": url for n, url in enumerate(running.router, 1)}
    addresses |= {f"agent-presence-{n}": url for n, url in enumerate(running.presence, 1)}
    addresses |= {f"reporting-{n}": url for n, url in enumerate(running.reporting, 1)}
    wrong = False
    for known in Pids(place).alive():
        url = addresses.pop(known.name, "")
        try:
            ready = (
                "yes" if not url or httpx.get(f"{url}/readyz", timeout=2, trust_env=False).status_code == 200 else "no"
            )
        except httpx.TransportError:
            ready = "no"
        wrong |= ready == "no"
        table.add_row(known.name, str(known.pid), ready, url or running.versions.get(known.name, ""))
    for name, url in addresses.items():
        wrong = True
        table.add_row(name, "-", "gone", url)
    console.print(table)
    raise SystemExit(1 if wrong else 0)


@app.command
def logs(process: str = "", /, *, home: HomeFolder = DEFAULT_HOME, lines: int = 50) -> None:
    """The last lines of a process's log (`router-1`, `kafka`, …), or of all.

    Parameters
    ----------
    lines
        How many.
    """
    place = Home(home)
    found = sorted(place.logs.glob(f"{process or '*'}.log"))
    if not found:
        names = ", ".join(sorted(path.stem for path in place.logs.glob("*.log"))) or "none yet"
        raise Trouble(f"no log {process}: there are {names}")
    for path in found:
        if len(found) > 1:
            console.print(f"[bold]{path.name}[/]")
        for line in path.read_text(errors="replace").splitlines()[-lines:]:
            print(line)


@app.command
def doctor(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """Look for what is wrong with this machine or this installation, and say what to do."""
    from porchlight.local.doctor import examine

    findings = examine(Home(home))
    table = Table("check", "", "finding")
    for finding in findings:
        table.add_row(finding.check, "[green]ok[/]" if finding.ok else "[red]wrong[/]", finding.text)
    console.print(table)
    raise SystemExit(0 if all(finding.ok for finding in findings) else 1)


@app.command(name="try")
def try_(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """Post one contact, answer it as an agent, and print each step with its time."""
    from porchlight.clients.connect import connect
    from porchlight.clients.smoke_test import try_once

    async def work() -> None:
        clients, _ = await connect(Home(home), client="try")
        async with clients:
            await try_once(clients, lambda text, ms: console.print(f"[cyan]{ms:8.1f} ms[/]  {text}"))

    asyncio.run(work())


@app.command
def apply(file: Path, /, *, home: HomeFolder = DEFAULT_HOME, dry_run: bool = False) -> None:
    """Policies as code: show what a file would change, and change it.

    Parameters
    ----------
    file
        TOML or YAML with a list `skills` and tables `queues.<id>` and `agents.<id>`, as the admin APIs take them.
    dry_run
        Only show and check; nothing is changed.
    """
    from porchlight.clients import apply as applying
    from porchlight.clients.connect import connect

    async def work() -> None:
        wanted = applying.read(file)
        clients, _ = await connect(Home(home), client="apply")
        async with clients:
            found = await applying.changes(clients.administrator(), wanted)
            for change in found:
                sign = "[green]+[/]" if change.is_new else "[yellow]~[/]"
                console.print(f"{sign} {change.kind} {change.name}")
                for path, before, after in change.fields:
                    console.print(f"    {path}: {before!r} -> {after!r}", markup=False)
            if dry_run:
                say(f"{len(found)} would change; nothing was changed")
                return
            counts = await applying.apply(clients.administrator(), wanted)
            say(", ".join(f"{number} {name}" for name, number in counts.items()) + f"; {len(found)} changed")

    asyncio.run(work())


@app.command
def demo(*, home: HomeFolder = DEFAULT_HOME) -> None:
    """Play the demo day on a running platform, again and again."""
    from porchlight.replay.demo_loop import play_for_ever

    asyncio.run(play_for_ever(Home(home), say))


@app.command(name="demo-day")
def demo_day(*, seed: int = 1, out: Path | None = None, scale: float = 1.0) -> None:
    """Generate a day of a call centre as a call log.

    Parameters
    ----------
    seed
        The same seed gives the same bytes.
    out
        A file; without it the log goes to standard output.
    scale
        Multiplies the arrivals.
    """
    from porchlight.replay.demo_day import generate

    text = generate(seed, scale=scale)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text)
        say(f"{text.count(chr(10)) - 1} calls in {out}")


@app.command
def replay(
    file: Path | None = None,
    /,
    *,
    day: str = "2026-01-05",
    speed: float = 60.0,
    home: HomeFolder = DEFAULT_HOME,
    json: Path | None = None,
) -> None:
    """Play a recorded day through a running platform, then check that nothing was lost or doubled.

    Parameters
    ----------
    file
        A call log (docs/call-log.md); without it the generated day that comes with Porchlight.
    day
        The day of the log to play, YYYY-MM-DD.
    speed
        Recorded seconds a real second.
    json
        Also write all figures to this file.
    """
    from porchlight.replay.command import replay_and_check

    ok = asyncio.run(replay_and_check(Home(home), file, day=day, speed=speed, json=json, console=console))
    raise SystemExit(0 if ok else 1)


@app.command
def check(*journals: Path, home: HomeFolder = DEFAULT_HOME, json: Path | None = None) -> None:
    """Check the whole history of a running platform: nothing lost, doubled or over capacity. Status 1 if there is.

    Parameters
    ----------
    journals
        Journals of clients; those of earlier replays are found by themselves.
    json
        Also write what was found to this file.
    """
    from porchlight.replay.command import check_history

    ok = asyncio.run(check_history(Home(home), list(journals), json=json, console=console))
    raise SystemExit(0 if ok else 1)


@app.command
def bench(
    what: Literal["all", "latency", "throughput", "takeover", "routers", "idle", "needs"] = "all",
    /,
    *,
    home: str | None = None,
    json: Path | None = None,
    times: int = 20,
    contacts: int = 0,
    agents: int = 5_000,
) -> None:
    """Measure a running platform, or one of its own in a temporary folder.

    Parameters
    ----------
    what
        Which figures.
    home
        The folder of a running platform; without it one is started for the measurement.
    json
        Also write all figures to this file.
    times
        Takeovers of each kind.
    contacts
        The backlog that `routers` works off (12,000), or who waits in `needs` while a router is killed (20,000); the platform's
        history is not the clients' afterwards, so it is not checked.
    agents
        Who hold a poll in `idle` while contacts are posted for others.
    """
    from porchlight.bench.command import measure

    measure(what, home=home, json=json, times=times, contacts=contacts, agents=agents, say=say)


@app.command
def docs(folder: Path = Path("docs"), /) -> None:
    """Write the generated pages again.

    Parameters
    ----------
    folder
        Where the pages lie.
    """
    try:
        from porchlight_docgen.pages import write
    except ModuleNotFoundError as why:
        raise Trouble("the pages are written where the code lies: `make docs` in a checkout") from why

    write(folder)
