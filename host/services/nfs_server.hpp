// SPDX-License-Identifier: Apache-2.0
// What mount.nfs does before it calls the kernel, and one thing more: finds the server's address and
// ports, and asks it whether it is there (RPC's NULL procedure, RFC 5531 12.1). The kernel's own
// first steps with a server that takes connections and never answers hold locks that mounts of other
// servers wait for (NFSv4's client id is settled by one mount at a time, whoever the server is), so
// it is sent to none that has not just answered.
//
// Runs in gantry-helper, since getaddrinfo(3) keeps no deadline. The wire is written here: libnfs and
// libtirpc bring a client each for these four calls of fixed size.
#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace gantry::services {

constexpr size_t kServerAddressesMax = 4;  // of one name that are tried

struct NfsServerLimits {
  // To connect and be answered, for each port of each address.
  std::chrono::milliseconds answer_ms_max{5000};
};

struct NfsServerFailure {
  int error_number = 0;  // EHOSTDOWN: it does not answer; EHOSTUNREACH: its name is not found
  std::string what;
};

// The options that the kernel needs beside `options`: "addr=", "port=", "mountport=". `source` is
// "server:/path", `fs_type` nfs or nfs4. What `options` say already is not asked for; a server
// without a portmapper is expected at 2049, and has to be given its mountport for NFSv3.
tl::expected<std::vector<std::string>, NfsServerFailure> FindNfsServer(
    const std::string& fs_type, const std::string& source, const std::vector<std::string>& options,
    const NfsServerLimits& limits = {});

}  // namespace gantry::services
