// SPDX-License-Identifier: Apache-2.0
// libcephfs in a throw-away process (gantry.job/1), since none of its calls has a deadline: one that
// hangs is ended with its process.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "plugins/common/result.hpp"

struct ceph_mount_info;

namespace gantry::cephfs {

// As whom, and where. In a job's input, which is wiped.
struct ClientIdentity {
  std::string mon_host;
  std::string user;  // without "client."
  std::string key;
  std::string fs_name;
  int timeout_s = 0;  // of the mount
};
// Adds it to the object, or takes it from one.
void AddIdentity(const ClientIdentity& identity, nlohmann::json* object);
ClientIdentity IdentityFrom(const nlohmann::json& object);
// A job's input as the object that it is. INVALID_ARGUMENT.
plugin::Result<nlohmann::json> ParseJobInput(std::string_view text);

// Every call blocks for as long as it takes.
class ThrowawayClient {
 public:
  ThrowawayClient() = default;
  ThrowawayClient(const ThrowawayClient&) = delete;
  ThrowawayClient& operator=(const ThrowawayClient&) = delete;

  // Connects to the cluster. Errors as FromErrno makes them.
  plugin::Status Open(const ClientIdentity& identity);
  // To an MDS of the filesystem, by its gid or name; an empty list where it answers nothing.
  plugin::Result<nlohmann::json> AskMds(const std::string& mds, const nlohmann::json& command);
  // After Open. NOT_FOUND: there is no such directory.
  plugin::Status Mount(const std::string& path);
  // Ends what Mount began. A process that is over without it leaves a session behind, for whose
  // capabilities others wait until the MDS gives it up (60 s).
  void Unmount();
  // An extended attribute, at most 64 bytes of it, of a path beneath the mounted directory ("/": that
  // itself). NOT_FOUND: there is no such path.
  plugin::Result<std::optional<std::string>> Attribute(const std::string& path,
                                                       const std::string& attribute);
  // There already is success, and so is for the others that there is nothing, or that something is
  // there already that is not empty.
  plugin::Status MakeDirectory(const std::string& path);
  plugin::Status Unlink(const std::string& path);
  plugin::Status Rename(const std::string& from, const std::string& to);
  // A number in one of the mounted directory; none: not set.
  std::optional<uint64_t> Number(const std::string& attribute);

 private:
  ceph_mount_info* mount_ = nullptr;  // until the process ends
};

}  // namespace gantry::cephfs
