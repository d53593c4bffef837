#!/usr/bin/env python3
"""A plugin for gmetad in Python: gives every host a metric more, load_one divided by cpu_num.

It is a changer, so plugins behind it see the metric, and it gets an RRD file. In gmetad.conf, if you like:

    load-per-cpu {
        name load_per_cpu
    }
"""

import json
import sys


def answer(**document):
    print(json.dumps(document), flush=True)


def changes(cluster, name):
    for host in cluster["hosts"]:
        metrics = {metric["name"]: metric for metric in host["metrics"]}
        try:
            load = float(metrics["load_one"]["val"]) / float(metrics["cpu_num"]["val"])
        except (KeyError, ValueError, ZeroDivisionError):
            continue
        yield {
            "host": host["name"],
            "inject": {"name": name, "val": f"{load:.3f}", "type": "float", "units": "load/CPU", "slope": "both",
                       "tmax": 60, "extra": [["GROUP", "load"], ["TITLE", "Load per CPU"]]},
        }


def main():
    name = "load_per_cpu"
    for line in sys.stdin:
        message = json.loads(line)
        kind = message["type"]
        if kind == "hello":
            answer(type="hello", protocol=1, role="changer", metrics=["load_one", "cpu_num"])
        elif kind == "config":
            for directive, rest in message["section"] or []:
                if directive == "name":
                    name = rest
                else:
                    answer(type="log", level="warn", text=f"unknown directive {directive}, ignored")
            answer(type="ok")
        elif kind == "cluster":
            answer(type="ok", id=message["id"], changes=list(changes(message, name)))
        else:
            answer(type="ok")
            if kind == "stop":
                break


if __name__ == "__main__":
    main()
