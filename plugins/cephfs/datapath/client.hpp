// SPDX-License-Identifier: Apache-2.0
// One mounted client of a Ceph filesystem, for one volume.
//
// Credentials go from memory to memory: no ceph.conf, no keyring file, and the identity is said
// instead of taken from the process. What libcephfs is told differs from its defaults where these
// lose data or block:
//
//   client_oc=false               a write is with the OSDs when it is answered: the object cacher's dirty
//                                 data would die with this process, after write(2) had said yes
//   fuse_default_permissions=true the kernel checks modes, and knows the caller's groups; we don't
//   client_mount_uid, _gid=0      the mount's own steps do not depend on this process's ids
//   client_mount_timeout          else 300 s; it does not cover a frozen MDS (see jobs.hpp for that)
//
// A client that is SIGKILLed keeps its capabilities in the MDS until its session times out (60 s), and
// everybody who wants one of its files waits. So each session has a UUID made of the volume and the
// node, and the next client of the same volume and node first has the MDS throw its predecessor out,
// which also blocklists it at the OSDs: whatever it had under way can't land afterwards. It is the fence
// of a take-over as well: when it has come back, what the dead client had asked the MDS for is in the
// MDS' journal or never will be, and who gets its capabilities is told the map that blocklists it.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "plugins/cephfs/datapath/options.hpp"

struct ceph_mount_info;

namespace gantry::cephfs {

using DataPathLog = std::function<void(int32_t level, std::string_view text)>;

// Of what libcephfs does before there is a session, where it knows a timeout.
inline constexpr std::chrono::seconds kMountTimeout{15};

struct ClientError {
  int error_number;
  std::string what;
};

class Client {
 public:
  // Blocks, with a frozen MDS for ever. `key`: the entity's, in base64; libcephfs keeps copies that
  // nobody can wipe. ENOENT: no such path or filesystem; EACCES: unknown user, wrong key or no right to
  // the path; ETIMEDOUT: no monitor or MDS answers; EAGAIN: a predecessor's session could not be ended.
  static tl::expected<std::shared_ptr<Client>, ClientError> Mount(const DataPathOptions& options,
                                                                  std::string_view key,
                                                                  const std::string& uuid,
                                                                  const DataPathLog& log);
  Client(const Client&) = delete;
  // What Unmount has not ended is left to a thread of its own, which may never end.
  ~Client();

  // nullptr once it was unmounted: whoever still holds something of it has nothing to give back then.
  ceph_mount_info* get() const { return mount_; }
  // Gives back all capabilities and ends the session. Blocks. Nothing may be under way.
  void Unmount();

 private:
  explicit Client(ceph_mount_info* mount) : mount_(mount) {}
  static tl::expected<std::shared_ptr<Client>, ClientError> MountOnce(
      const DataPathOptions& options, std::string_view key, const std::string& uuid,
      const DataPathLog& log);

  std::atomic<ceph_mount_info*> mount_;
};

// To the system, of what was allocated and is free again. Takes a millisecond or so.
void ReturnFreeMemory();
// The same of the calling thread's stack below what is in use: libcephfs makes its table of options on it
// when it is loaded, a mebibyte that nobody needs again.
void ReturnUnusedStack();

// A session's UUID: the same for the same volume, node and owner.
std::string SessionUuid(std::string_view owner, std::string_view node_id,
                        std::string_view volume_key);

}  // namespace gantry::cephfs
