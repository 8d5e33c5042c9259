#!/usr/bin/python3
"""What a program with redis-py does, on the socket it is given; any surprise is an exception. Started by clients.py."""

import sys
import threading

import redis


def equal(got, wanted):
    if got != wanted:
        raise AssertionError(f"{got!r}, wanted {wanted!r}")


def refused(kind, call, *arguments):
    try:
        call(*arguments)
    except kind:
        return
    raise AssertionError(f"{call} did not raise {kind}")


def strings(client):
    equal(client.set("py:k", "v"), True)
    equal(client.get("py:k"), b"v")
    equal(client.set("py:k", "w", nx=True), None)
    equal(client.set("py:k", "w", xx=True, get=True, ex=100), b"v")
    equal(90 < client.ttl("py:k") <= 100, True)
    equal(client.getex("py:k", persist=True), b"w")
    equal(client.incr("py:n", 5), 5)
    equal(client.incrbyfloat("py:n", 0.5), 5.5)
    equal(client.mset({"py:a": 1, "py:b": b"\x00\xff"}), True)
    equal(client.mget("py:a", "py:b", "py:none"), [b"1", b"\x00\xff", None])
    equal(client.append("py:a", "2"), 2)
    equal(client.getrange("py:a", 0, -1), b"12")
    equal(client.expire("py:a", 100, nx=True), True)
    equal(client.type("py:a"), b"string")
    equal(client.exists("py:a", "py:none"), 1)
    equal(sorted(client.scan_iter("py:*", count=2)), [b"py:a", b"py:b", b"py:k", b"py:n"])
    equal(client.delete("py:a", "py:b", "py:k", "py:n"), 4)


def hashes(client):
    equal(client.hset("py:h", mapping={"f": 1, "g": "two"}), 2)
    equal(client.hgetall("py:h"), {b"f": b"1", b"g": b"two"})
    equal(client.hmget("py:h", "f", "none"), [b"1", None])
    equal(client.hincrby("py:h", "f", 4), 5)
    equal(dict(client.hscan_iter("py:h")), {b"f": b"5", b"g": b"two"})
    equal(client.hdel("py:h", "f", "g"), 2)
    client.hset("py:h", "f", 1)
    refused(redis.ResponseError, client.incr, "py:h")
    refused(redis.ResponseError, client.get, "py:h")
    client.delete("py:h")


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(100):
            pipe.set(f"py:p{i}", i)
        equal(pipe.execute(), [True] * 100)
    with client.pipeline() as pipe:
        pipe.get("py:p7").incr("py:p7").delete(*[f"py:p{i}" for i in range(100)])
        equal(pipe.execute(), [b"7", 8, 100])
    client.set("py:w", 1)
    with client.pipeline() as pipe:
        pipe.watch("py:w")
        client.set("py:w", 2)
        pipe.multi()
        pipe.incr("py:w")
        refused(redis.WatchError, pipe.execute)
    def add(pipe):
        pipe.multi()
        pipe.incr("py:w")
    equal(client.transaction(add, "py:w"), [3])
    client.delete("py:w")


def locks(client):
    client.set("py:lock", "token", nx=True, px=100000)
    equal(client.set("py:lock", "other", nx=True, px=100000), None)
    client.delete("py:lock")


def messages(client):
    heard = client.pubsub(ignore_subscribe_messages=False)
    heard.subscribe("py:c")
    heard.psubscribe("py:*")
    equal([heard.get_message(timeout=10)["type"] for _ in range(2)], ["subscribe", "psubscribe"])
    equal(client.publish("py:c", "hello"), 2)
    got = [heard.get_message(timeout=10) for _ in range(2)]
    equal(sorted(message["type"] for message in got), ["message", "pmessage"])
    equal({message["data"] for message in got}, {b"hello"})
    heard.close()


def several_threads(client):
    errors = []

    def count():
        try:
            for _ in range(50):
                client.incr("py:threads")
        except redis.RedisError as error:
            errors.append(error)
    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    equal(errors, [])
    equal(client.getdel("py:threads"), b"200")


def server(client):
    equal(client.ping(), True)
    equal(client.echo("hi"), b"hi")
    equal(client.config_get("appendonly"), {"appendonly": "no"})
    client.client_setname("py")
    equal(client.client_getname() in ("py", b"py"), True)
    equal("redis_version" in client.info(), True)
    equal(client.time()[0] > 1_600_000_000, True)
    equal(client.dbsize() >= 0, True)
    equal("get" in client.command(), True)
    refused(redis.ResponseError, client.execute_command, "NOSUCH")


def main():
    client = redis.Redis(unix_socket_path=sys.argv[1], socket_timeout=10)
    wrong = []
    for part in (server, strings, hashes, pipelines, locks, messages, several_threads):
        try:
            part(client)
        except Exception as error:  # every part is tried: the list is what a reader needs
            wrong.append(f"{part.__name__}: {type(error).__name__}: {error}")
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
