// SPDX-License-Identifier: Apache-2.0
// How full a directory with a quota is, by the kernel's Ceph client. Its statfs counts in blocks of
// 4 MiB and asks only a monitor, which also answers a client that the MDS has thrown out; the directory's
// attributes are exact, and only a living session gets them.
#pragma once

#include <sys/statfs.h>

#include <string>

#include "host/services/detached_mount.hpp"
#include "host/services/helper_protocol.hpp"

namespace gantry::services {

bool IsCeph(const struct statfs& status);

// Puts the bytes and files of the quota at `directory` into the reply where there is one. `directory`
// may be O_PATH; `name` is for messages. Blocks while the MDS does not answer.
Outcome<void> ProbeCeph(int directory, const std::string& name, HelperReply* reply);

}  // namespace gantry::services
