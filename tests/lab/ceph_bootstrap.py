#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# What tests/lab/ceph asks the monitor and the manager, over one connection, because each run of ceph's
# command line would cost half a second.
#
#   ceph_bootstrap.py DIR SECONDS prepare OSD_UUID   makes the OSD's entry, two pools, the filesystem
#   ceph_bootstrap.py DIR SECONDS wait               waits until the filesystem and its volumes serve
import json
import sys
import time

import rados

POLL_S = 0.03
ANSWER_S_MAX = 10


def main():
    directory, seconds, verb = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    deadline = time.monotonic() + seconds
    cluster = rados.Rados(conffile=directory + "/ceph.conf", name="client.admin",
                          conf={"log_to_stderr": "false", "client_mount_timeout": "15"})
    cluster.connect(timeout=15)
    try:
        if verb == "prepare":
            prepare(cluster, sys.argv[4])
        else:
            wait(cluster, deadline)
    finally:
        cluster.shutdown()


def ask(command, prefix, **arguments):
    words = json.dumps(dict(arguments, prefix=prefix, format="json"))
    code, out, complaint = command(words, b"", timeout=ANSWER_S_MAX)
    if code != 0:
        raise RuntimeError(f"{prefix}: {code} {complaint}")
    return json.loads(out) if out.strip() else None


def prepare(cluster, osd_uuid):
    ask(cluster.mon_command, "osd new", uuid=osd_uuid, id=0)
    for pool in ("cephfs_meta", "cephfs_data"):
        ask(cluster.mon_command, "osd pool create", pool=pool, pg_num=8)
    ask(cluster.mon_command, "fs new", fs_name="cephfs", metadata="cephfs_meta", data="cephfs_data")


def unready(cluster):
    """What is still missing, or nothing. The manager may be one that has just died: it is asked itself."""
    if ask(cluster.mon_command, "osd stat")["num_up_osds"] < 1:
        return "the OSD is not up"
    mdsmap = ask(cluster.mon_command, "fs dump")["filesystems"][0]["mdsmap"]
    if not any(info["state"] == "up:active" for info in mdsmap["info"].values()):
        return "no MDS is active"
    if not ask(cluster.mon_command, "mgr stat")["available"]:
        return "no manager is available"
    ask(cluster.mgr_command, "fs subvolume ls", vol_name="cephfs")
    return None


def wait(cluster, deadline):
    why = "not asked"
    while time.monotonic() < deadline:
        try:
            why = unready(cluster)
        except (RuntimeError, rados.Error) as error:
            why = str(error)
        if why is None:
            return
        time.sleep(POLL_S)
    raise SystemExit(why)


if __name__ == "__main__":
    main()
