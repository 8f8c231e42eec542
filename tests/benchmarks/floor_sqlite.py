"""The floor: a bare sqlite3 + socketpair loop that claims, dispatches and finishes the same rows. Prints jobs/s."""

import json, os, selectors, socket, sqlite3, struct, sys, tempfile, time
from collections import deque

N, PREFETCH, BATCH, W = int(sys.argv[1]), int(sys.argv[2]), 200, 2
db = os.path.join(tempfile.mkdtemp(), "f.db")
c = sqlite3.connect(db, isolation_level=None)
c.execute("pragma journal_mode=wal")
c.execute("pragma synchronous=full")
c.execute(
    "create table job(id integer primary key, job_type text, payload text, status text, priority int default 0, run_at real, attempts int default 0, locked_by text, locked_at real, started_at real, completed_at real, output text)"
)
c.execute("create index ready on job(priority desc, run_at, id) where status='pending'")
now = time.time()
c.execute("begin")
c.executemany(
    "insert into job(job_type,payload,status,run_at) values('noop',?,'pending',?)",
    ((json.dumps({"n": i, "text": "x" * 64}), now) for i in range(N)),
)
c.execute("commit")


def worker(s):
    f = s.makefile("rb")
    while h := f.read(4):
        m = json.loads(f.read(struct.unpack("I", h)[0]))
        json.loads(m[2])
        b = json.dumps([m[0], json.dumps({"ok": True})]).encode()
        s.sendall(struct.pack("I", len(b)) + b)
    os._exit(0)


socks = []
pids = []
for i in range(W):
    a, b = socket.socketpair()
    p = os.fork()
    if p == 0:
        a.close()
        [s.close() for s in socks]
        worker(b)
    b.close()
    socks.append(a)
    pids.append(p)
sel = selectors.DefaultSelector()
bufs = [bytearray() for _ in socks]
load = [0] * W
for i, s in enumerate(socks):
    s.setblocking(False)
    sel.register(s, 1, i)
ready, done, fin = deque(), [], 0
CL = "update job set status='processing',locked_by='n',locked_at=?,started_at=?,attempts=attempts+1 where id in (select id from job where status='pending' and run_at<=? order by priority desc,run_at,id limit ?) returning id,job_type,payload,attempts"
t0 = last = time.time()
while fin < N:
    now = time.time()
    if len(ready) < BATCH // 2 or len(done) >= BATCH or (done and now - last > 0.005):
        c.execute("begin immediate")
        if done:
            c.executemany(
                "update job set status='completed',completed_at=?,output=?,locked_by=null where id=? and locked_by='n'",
                done,
            )
            fin += len(done)
            done = []
        if len(ready) < BATCH:
            ready.extend(c.execute(CL, (now, now, now, BATCH)).fetchall())
        c.execute("commit")
        last = now
    for i in range(W):
        out = []
        while load[i] < PREFETCH and ready:
            b = json.dumps(ready.popleft()).encode()
            out += [struct.pack("I", len(b)), b]
            load[i] += 1
        if out:
            socks[i].sendall(b"".join(out))
    for k, _ in sel.select(0.001):
        i = k.data
        bufs[i] += k.fileobj.recv(65536)
        buf = bufs[i]
        pos = 0
        while len(buf) - pos >= 4 and len(buf) - pos - 4 >= (n := struct.unpack_from("I", buf, pos)[0]):
            m = json.loads(bytes(buf[pos + 4 : pos + 4 + n]))
            pos += 4 + n
            done.append((now, m[1], m[0]))
            load[i] -= 1
        del buf[:pos]
print(N / (time.time() - t0))
for s in socks:
    s.close()
for p in pids:
    os.waitpid(p, 0)
