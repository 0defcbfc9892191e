"""Fetching reports from a real server that misbehaves, and taking them from folders of PDFs."""

import hashlib
import http.server
import resource
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from conftest import COMMAND, REPOSITORY, command
from filelock import FileLock

from findings import __version__, fetch, reports, standoff
from findings.errors import FindingsError
from findings.fetch import Manners
from findings.reports import Report

QUICK = Manners(delay=0, tries=3, backoff=0, longest_wait=5, timeout=5)
ERROR_PAGE = b"<!DOCTYPE html>\n<html><head><title>Sorry</title></head><body>Not here</body></html>"


def pdf(number, size=60_000):
    """Something that looks like a PDF, other bytes for each number."""
    middle = hashlib.shake_256(str(number).encode()).digest(size)
    return b"%PDF-1.7\n" + middle + b"\n%%EOF\n"


def report(number, *, known=True, content=None):
    digest = hashlib.sha256(content or pdf(number)).hexdigest() if known else ""
    return Report(str(number), "inspection_report", "Examplemoor", "", "2024-03-12", "train", digest)


# The server ---------------------------------------------------------------------------------------


class Site(http.server.ThreadingHTTPServer):
    """Serves /file/<number>; `plan` has for a number what happens at each request, the last for good."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan = {}
        self.asked = []
        self.reached = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/file"

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is no news here

    def paths(self):
        return [path for path, _ in self.asked]

    def headers(self, name):
        return [headers.get(name) for _, headers in self.asked]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = self.path.rpartition("/")[2]
        self.server.asked.append((self.path, dict(self.headers)))
        steps = self.server.plan.get(number, [whole])
        (steps.pop(0) if len(steps) > 1 else steps[0])(self, pdf(number))

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", *, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length != 0:
            self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def hang_up(self):
        self.close_connection = True


def whole(handler, body):
    handler.answer(200, body)


def ranged(etag='"first"'):
    """As a server that knows Range and If-Range does."""

    def serve(handler, body):
        wanted, if_range = handler.headers.get("Range"), handler.headers.get("If-Range")
        headers = {"ETag": etag} if etag else {}
        if wanted and if_range in (None, etag):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                handler.answer(416)
            else:
                place = f"bytes {start}-{len(body) - 1}/{len(body)}"
                handler.answer(206, body[start:], Content_Range=place, **headers)
        else:
            handler.answer(200, body, **headers)

    return serve


def drop(after, **headers):
    """Promise all, send some, hang up."""

    def serve(handler, body):
        handler.answer(200, body[:after], length=len(body), **headers)
        handler.hang_up()

    return serve


def cut(after):
    """Send some as if it were all: no length is given, so nothing shows that more should come."""

    def serve(handler, body):
        handler.answer(200, body[:after], length=0, Connection="close")
        handler.hang_up()

    return serve


def says(status, body=b"", **headers):
    return lambda handler, _: handler.answer(status, body, **headers)


def stall(handler, body):
    """Send half and then nothing more."""
    handler.answer(200, body[: len(body) // 2], length=len(body), ETag='"first"')
    handler.server.reached.set()
    threading.Event().wait(20)
    handler.hang_up()


def silence(handler, body):
    handler.hang_up()


def endless(handler, body):
    handler.answer(200, b"%PDF-1.7\n", length=0, Connection="close")
    while True:  # until the other side hangs up
        handler.wfile.write(b"0" * 10_000)


def busy_for_a_second():
    """Refuse whoever comes back earlier than was asked."""
    over = []

    def serve(handler, body):
        over.append(time.monotonic() + 1)
        if time.monotonic() >= over[0]:
            handler.answer(200, body)
        else:
            handler.answer(429, Retry_After="1")

    return serve


@pytest.fixture
def site():
    server = Site()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def run(site, folder, *wanted, manners=QUICK):
    return list(fetch.fetch(wanted, folder, base_url=site.url, manners=manners))


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


# Downloading --------------------------------------------------------------------------------------


def test_reports_are_fetched_once_with_an_honest_name(site, tmp_path):
    wanted = [report(number) for number in (101, 102, 103)]
    assert [outcome.state for outcome in run(site, tmp_path, *wanted)] == ["fetched"] * 3
    assert left(tmp_path) == ["101.pdf", "102.pdf", "103.pdf"]
    assert (tmp_path / "102.pdf").read_bytes() == pdf(102)
    assert site.paths() == ["/file/101", "/file/102", "/file/103"]
    (agent,) = set(site.headers("User-Agent"))
    assert agent.startswith(f"findings/{__version__} (")
    assert "inspection reports" in agent
    assert [outcome.state for outcome in run(site, tmp_path, *wanted)] == ["there"] * 3
    assert len(site.asked) == 3


def test_a_damaged_file_is_fetched_again(site, tmp_path):
    (tmp_path / "101.pdf").write_bytes(pdf(101)[:500])
    (tmp_path / "102.pdf").write_bytes(pdf(102)[:500])
    outcomes = run(site, tmp_path, report(101), report(102, known=False))
    assert [outcome.state for outcome in outcomes] == ["fetched"] * 2
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)
    assert (tmp_path / "102.pdf").read_bytes() == pdf(102)


@pytest.mark.parametrize(("etag", "known"), [('"first"', True), ('"first"', False), (None, True)])
def test_a_dropped_connection_is_taken_up_where_it_broke(site, tmp_path, etag, known):
    headers = {"ETag": etag} if etag else {}
    site.plan["101"] = [drop(40_000, **headers), ranged(etag)]
    (outcome,) = run(site, tmp_path, report(101, known=known))
    assert outcome.state == "fetched"
    assert left(tmp_path) == ["101.pdf"]
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)
    first, second = site.headers("Range")
    assert first is None
    assert int(second.removeprefix("bytes=").rstrip("-")) > 30_000
    assert site.headers("If-Range") == [None, etag]


def test_no_rest_is_asked_for_where_nothing_would_tell_what_it_belongs_to(site, tmp_path):
    site.plan["101"] = [drop(40_000), whole]
    (outcome,) = run(site, tmp_path, report(101, known=False))
    assert outcome.state == "fetched"
    assert site.headers("Range") == [None, None]
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)


def test_a_weak_validator_is_none(site, tmp_path):
    site.plan["101"] = [drop(40_000, ETag='W/"first"'), whole]
    run(site, tmp_path, report(101, known=False))
    assert site.headers("Range") == [None, None]


def test_a_server_without_ranges_sends_all_again(site, tmp_path):
    site.plan["101"] = [drop(40_000, ETag='"first"'), whole]
    (outcome,) = run(site, tmp_path, report(101))
    assert outcome.state == "fetched"
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)


def test_parts_of_two_versions_are_not_put_together(site, tmp_path):
    (tmp_path / "101.pdf.part").write_bytes(pdf(999)[:40_000])
    site.plan["101"] = [ranged(None)]
    (outcome,) = run(site, tmp_path, report(101))
    assert outcome.state == "fetched"
    assert site.headers("Range") == ["bytes=40000-", None]
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)


def test_another_part_than_was_asked_for_is_not_taken(site, tmp_path):
    body = pdf(101)
    place = f"bytes 0-{len(body) - 1}/{len(body)}"
    other = lambda handler, body: handler.answer(206, body, Content_Range=place)  # noqa: E731
    site.plan["101"] = [drop(40_000, ETag='"first"'), other, whole]
    (outcome,) = run(site, tmp_path, report(101, known=False))
    assert outcome.state == "fetched"
    assert (tmp_path / "101.pdf").read_bytes() == body


def test_a_part_that_is_all_or_too_much_is_fetched_anew(site, tmp_path):
    (tmp_path / "101.pdf.part").write_bytes(pdf(101) + b"more")
    site.plan["101"] = [ranged()]
    (outcome,) = run(site, tmp_path, report(101))
    assert outcome.state == "fetched"
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)


def test_a_busy_server_is_asked_again(site, tmp_path):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    site.plan["101"] = [says(429, Retry_After="1"), says(503, Retry_After=soon), whole]
    site.plan["102"] = [says(503), says(500, Retry_After="soon"), whole]
    assert [outcome.state for outcome in run(site, tmp_path, report(101), report(102))] == ["fetched"] * 2
    assert len(site.asked) == 6


def test_the_wait_that_is_asked_for_is_kept(site, tmp_path):
    site.plan["101"] = [busy_for_a_second()]
    (outcome,) = run(site, tmp_path, report(101), manners=Manners(delay=0, tries=2, backoff=0))
    assert outcome.state == "fetched"


def test_a_server_that_asks_for_a_long_wait_is_left_alone(site, tmp_path):
    site.plan["102"] = [says(429, Retry_After="3600")]
    outcomes = []
    with pytest.raises(FindingsError) as caught:
        outcomes.extend(fetch.fetch([report(n) for n in (101, 102, 103)], tmp_path, base_url=site.url, manners=QUICK))
    assert "429" in str(caught.value)
    assert "3600 s" in str(caught.value)
    assert site.paths() == ["/file/101", "/file/102"]
    assert left(tmp_path) == ["101.pdf"]


@pytest.mark.parametrize(
    ("step", "reason", "tries"),
    [
        (says(404), "404 Not Found", 1),
        (says(403), "403 Forbidden", 1),
        (says(204), "204", 1),
        (says(503), "503 Service Unavailable (3 tries)", 3),
        (says(200, ERROR_PAGE), "an HTML page, not a PDF", 1),
        (says(200, b"plain words"), "not a PDF", 1),
        (cut(30_000), "the PDF is cut short (3 tries)", 3),
        (drop(30_000), "the connection dropped midway (3 tries)", 3),
        (silence, "no connection, or dropped before an answer (3 tries)", 3),
        (says(302, Location="101"), "more than 5 redirects", 6),
        (says(302, Location="file:///etc/passwd"), "redirected to file:///etc/passwd, which is not followed", 1),
        (says(302, Location="http://[bad"), "redirected to what is no address", 1),
        (says(200, length=10**12), "more than 100 MiB", 1),
    ],
)
def test_what_fails_is_named_and_the_others_go_on(site, tmp_path, step, reason, tries):
    site.plan["101"] = [step]
    first, second = run(site, tmp_path, report(101, known=False), report(102))
    assert first.state == "failed"
    assert reason in str(first)
    assert str(first).startswith("101 (Examplemoor, 2024-03-12): ")
    assert second.state == "fetched"
    assert site.paths().count("/file/101") == tries
    assert [name for name in left(tmp_path) if name.endswith(".pdf")] == ["102.pdf"]


def test_a_file_cut_short_without_a_sign_is_fetched_again(site, tmp_path):
    site.plan["101"] = [cut(30_000), whole]
    (outcome,) = run(site, tmp_path, report(101, known=False))
    assert outcome.state == "fetched"
    assert (tmp_path / "101.pdf").read_bytes() == pdf(101)


def test_a_redirect_is_followed(site, tmp_path):
    site.plan["101"] = [says(302, Location="/elsewhere/101"), whole]
    (outcome,) = run(site, tmp_path, report(101))
    assert outcome.state == "fetched"
    assert site.paths() == ["/file/101", "/elsewhere/101"]


def test_an_endless_body_ends_at_the_limit(site, tmp_path):
    site.plan["101"] = [endless]
    manners = Manners(delay=0, tries=3, backoff=0, deadline=20, max_bytes=2**20)
    (outcome,) = run(site, tmp_path, report(101), manners=manners)
    assert outcome.reason == "more than 1 MiB"
    assert left(tmp_path) == []
    assert len(site.asked) == 1


def test_a_stalled_connection_is_dropped_and_taken_up(site, tmp_path):
    site.plan["101"] = [stall, ranged()]
    manners = Manners(delay=0, tries=2, backoff=0, timeout=0.5)
    (outcome,) = run(site, tmp_path, report(101), manners=manners)
    assert outcome.state == "fetched"
    assert site.headers("Range")[1] is not None


def test_a_report_has_a_deadline_and_goes_on_next_time(site, tmp_path):
    (outcome,) = run(site, tmp_path, report(101), manners=Manners(delay=0, deadline=0))
    assert outcome.state == "failed"
    assert "not whole after 0 s" in outcome.reason
    (outcome,) = run(site, tmp_path, report(101))
    assert outcome.state == "fetched"


def test_a_changed_report_is_kept_aside_and_said(site, tmp_path):
    (outcome,) = run(site, tmp_path, report(101, content=b"as it was"))
    assert outcome.state == "changed"
    assert "changed since it was annotated, kept as 101.changed.pdf" in str(outcome)
    assert left(tmp_path) == ["101.changed.pdf"]
    (again,) = run(site, tmp_path, report(101, content=b"as it was"))
    assert again == outcome
    assert len(site.asked) == 1
    (right,) = run(site, tmp_path, report(102))
    assert right.state == "fetched"


def test_without_a_connection_it_stops_after_three(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        address = f"http://127.0.0.1:{closed.server_port}/file"
    outcomes = []
    with pytest.raises(FindingsError, match="3 reports in a row could not be got"):
        outcomes.extend(fetch.fetch([report(n) for n in range(101, 110)], tmp_path, base_url=address, manners=QUICK))
    assert [outcome.state for outcome in outcomes] == ["failed"] * 3
    assert left(tmp_path) == []


def test_a_server_that_is_down_is_not_asked_for_every_report(site, tmp_path):
    site.plan |= {str(number): [says(503)] for number in range(102, 110)}
    outcomes = []
    with pytest.raises(FindingsError, match="3 reports in a row could not be got"):
        outcomes.extend(fetch.fetch([report(n) for n in range(101, 110)], tmp_path, base_url=site.url, manners=QUICK))
    assert len(site.asked) == 1 + 3 * QUICK.tries


@pytest.mark.parametrize(
    "address", ["ftp://example.org/file", "file:///tmp", "example.org/file", "https://", "http://[::1"]
)
def test_only_http_is_asked(tmp_path, address):
    with pytest.raises(FindingsError, match="not an address"):
        list(fetch.fetch([report(101)], tmp_path, base_url=address))


def test_two_fetches_into_one_folder_do_not_mix(site, tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(FindingsError, match="another fetch is at work"):
        run(site, tmp_path, report(101))


def test_a_folder_that_cannot_be_written_is_named(site, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FindingsError) as caught:
        run(site, tmp_path / "file", report(101))
    assert str(tmp_path / "file") in str(caught.value)
    assert "--out" in str(caught.value)


# The command --------------------------------------------------------------------------------------


@pytest.fixture
def wanted(tmp_path):
    """A folder with a reports.csv of 101 to 104, and no annotations that matter."""
    folder = tmp_path / "standoff"
    mark = standoff.Mark("a", "101", 1, 5, "0" * 64, False, "none", (), "author")
    standoff.write(standoff.Standoff(folder, tuple(report(number) for number in range(101, 105)), (mark,)))
    return folder


def arguments(site, wanted, *more):
    return ["data", "fetch", "--standoff", wanted, "--base-url", site.url, "--delay", "0", *more]


def test_the_command_lists_what_failed_and_goes_on_next_time(site, wanted, tmp_path):
    site.plan["102"] = [says(404), whole]
    site.plan["103"] = [says(200, ERROR_PAGE), whole]
    done = command(*arguments(site, wanted), cwd=tmp_path)
    assert done.returncode == 1
    assert "102 (Examplemoor, 2024-03-12): the server answered 404 Not Found" in done.stderr
    assert "103 (Examplemoor, 2024-03-12): an HTML page, not a PDF" in done.stderr
    told = f"2 of 4 reports are in {wanted / 'reports'}: 2 fetched, 0 there before, 0 changed since annotated; 2 failed"
    assert done.stdout.strip() == told
    done = command(*arguments(site, wanted), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 reports" in done.stdout
    assert site.paths().count("/file/101") == 1


def test_ctrl_c_keeps_what_is_there_and_the_next_run_goes_on(site, wanted, tmp_path):
    site.plan["102"] = [stall, ranged()]
    call = [str(COMMAND), *map(str, arguments(site, wanted))]
    process = subprocess.Popen(call, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert site.reached.wait(60)
    part = wanted / "reports" / "102.pdf.part"
    while not (part.is_file() and part.stat().st_size > 20_000):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert (wanted / "reports" / "101.pdf").read_bytes() == pdf(101)
    done = command(*arguments(site, wanted), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 reports" in done.stdout
    assert (wanted / "reports" / "102.pdf").read_bytes() == pdf(102)
    (resumed,) = filter(None, site.headers("Range"))
    assert int(resumed.removeprefix("bytes=").rstrip("-")) > 20_000


def test_a_full_disk_loses_nothing_and_names_itself(site, wanted, tmp_path):
    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    site.plan |= {str(number): [ranged()] for number in range(101, 105)}
    done = command(*arguments(site, wanted), cwd=tmp_path, preexec_fn=small)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{wanted / 'reports'}" in done.stderr
    assert "Make room" in done.stderr
    assert not list((wanted / "reports").glob("*.pdf"))
    done = command(*arguments(site, wanted), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (wanted / "reports" / "101.pdf").read_bytes() == pdf(101)


def test_a_torn_table_is_named(site, wanted, tmp_path):
    path = wanted / "reports.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("102,", "../../102,"), encoding="utf-8")
    done = command(*arguments(site, wanted), cwd=tmp_path)
    assert done.returncode == 1
    assert f"{path}:3: source file id '../../102' must be letters and digits" in done.stderr
    assert site.asked == []


# From PDFs at hand --------------------------------------------------------------------------------


def test_a_folder_of_pdfs_is_known_by_content_name_or_index(wanted, tmp_path):
    source = tmp_path / "pdfs"
    (source / "deeper").mkdir(parents=True)
    (source / "deeper" / "some name.PDF").write_bytes(pdf(101))
    (source / "Report_102 (copy).pdf").write_bytes(pdf("102 as it is now"))
    (source / "listed.pdf").write_bytes(pdf("103 as it is now"))
    (source / "104.pdf").write_bytes(ERROR_PAGE)
    (source / "stranger.pdf").write_bytes(pdf(999))
    (source / "page.pdf").write_bytes(ERROR_PAGE)
    (source / "index.csv").write_text("file,source_file_id\nlisted.pdf,103\n", encoding="utf-8")
    before = {path: path.read_bytes() for path in source.rglob("*.*")}
    done = command("data", "fetch", "--standoff", wanted, "--folder", source, cwd=tmp_path)
    assert done.returncode == 1
    assert left(wanted / "reports") == ["101.pdf", "102.changed.pdf", "103.changed.pdf"]
    assert (wanted / "reports" / "101.pdf").read_bytes() == pdf(101)
    assert f"104 (Examplemoor, 2024-03-12): {source / '104.pdf'}: an HTML page, not a PDF" in done.stderr
    assert f"passed over: {source / 'stranger.pdf'}: no report that is annotated" in done.stderr
    assert f"passed over: {source / 'page.pdf'}: an HTML page, not a PDF" in done.stderr
    assert "3 of 4 reports" in done.stdout
    assert {path: path.read_bytes() for path in source.rglob("*.*")} == before


def test_pdfs_that_are_there_are_not_taken_twice(wanted, tmp_path):
    source = tmp_path / "pdfs"
    source.mkdir()
    (source / "a.pdf").write_bytes(pdf(101))
    marks = standoff.read(wanted)
    for state in ("fetched", "there"):
        outcomes, strangers = fetch.take(marks.reports, source, wanted / "reports")
        assert [outcome.state for outcome in outcomes] == [state]
        assert strangers == []
    outcomes, _ = fetch.take(marks.reports, wanted / "reports", wanted / "reports")
    assert [outcome.state for outcome in outcomes] == ["there"]


def test_a_missing_folder_or_index_column_is_named(wanted, tmp_path):
    done = command("data", "fetch", "--standoff", wanted, "--folder", tmp_path / "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path / 'nowhere'}: no such folder" in done.stderr
    (tmp_path / "index.csv").write_text("file,number\n", encoding="utf-8")
    with pytest.raises(FindingsError, match=r"index\.csv:1: no column 'source_file_id'"):
        reports.identify(tmp_path, [])


def test_the_shared_reports_are_taken(tmp_path):
    shared = REPOSITORY.parent / "shared" / "reports"
    if not shared.is_dir():
        pytest.skip("no real reports in ../shared/reports")
    marks = standoff.read(standoff.default_folder())
    outcomes, strangers = fetch.take(marks.reports, shared, tmp_path)
    assert {outcome.state for outcome in outcomes} == {"fetched"}
    assert len(outcomes) == sum(bool(r.sha256) for r in marks.reports)
    assert [told.rpartition(": ")[2] for told in strangers] == ["an HTML page, not a PDF"]
