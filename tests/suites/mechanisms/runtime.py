"""What a Python server does: loopback HTTP, asyncio, children, SQLite, pools. Prints a word for each."""
import asyncio, concurrent.futures, http.server, os, socket, sqlite3, subprocess, threading, urllib.request

words = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"http")

    def log_message(self, *_):
        pass


def same(word):
    return word


async def child():
    process = await asyncio.create_subprocess_exec("echo", "asyncio", stdout=asyncio.subprocess.PIPE)
    return (await process.communicate())[0].decode().strip()


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    words.append(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}").read().decode())
    words.append(asyncio.run(child()))
    words.append(subprocess.run(["sh", "-c", "echo subprocess | cat"], capture_output=True, text=True).stdout.strip())
    database = sqlite3.connect("limits.db")
    database.execute("pragma journal_mode=wal")
    database.execute("create table t(a)")
    database.execute("insert into t values ('sqlite')")
    database.commit()
    words.append(database.execute("select a from t").fetchone()[0])
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        words.extend(pool.map(same, ["processes"]))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        words.extend(pool.map(same, ["threads"]))
    try:
        os.chmod("limits.db", 0o4755)
        words.append("setid:made")
    except OSError as error:
        words.append(f"setid:{error.errno}")
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        words.append("vsock:made")
    except OSError as error:
        words.append(f"vsock:{error.errno}")
    print(*words)


if __name__ == "__main__":
    main()
