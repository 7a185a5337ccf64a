"""A client of Debian's python3-redis that knows what it must be answered, until its standard input ends.

    python3 testing/checking-client.py PORT

Prints one line of JSON: acknowledged writes, how many of them are lost, how often it connected, milliseconds of the
longest wait. Fails where its one connection breaks or a new one is refused.
"""
import json
import select
import sys
import time

import redis

port = int(sys.argv[1])
kept = redis.Redis(port=port, single_connection_client=True)
acknowledged = {}
writes = lost = connections = 0
worst = 0.0

print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    start = time.monotonic()
    writes += 1
    key, value = f"python:{writes % 500}", str(writes)
    if kept.set(key, value):
        acknowledged[key] = value
    lost += kept.incr("python") != writes
    worst = max(worst, time.monotonic() - start)
    if writes % 20 == 0:
        redis.Redis(port=port, single_connection_client=True).ping()
        connections += 1
lost += sum(kept.get(key) != value.encode() for key, value in acknowledged.items())
print(json.dumps({"writes": writes, "lost": int(lost), "connections": connections, "worstMs": round(worst * 1000)}))
