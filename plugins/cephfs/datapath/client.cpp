// SPDX-License-Identifier: Apache-2.0
#include "plugins/cephfs/datapath/client.hpp"

#include <cephfs/libcephfs.h>
#include <gantry/gantry.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

#include "plugins/common/sha256.hpp"

namespace gantry::cephfs {
namespace {

struct Setting {
  const char* name;
  const char* value;
};
constexpr std::array kSettings = {
    Setting{"keyring", "/dev/null"},
    Setting{"auth_client_required", "cephx"},
    Setting{"client_oc", "false"},
    Setting{"client_quota", "true"},
    Setting{"fuse_default_permissions", "true"},
    Setting{"client_mount_uid", "0"},
    Setting{"client_mount_gid", "0"},
    Setting{"log_to_stderr", "false"},
    Setting{"err_to_stderr", "false"},
    Setting{"log_file", ""},
    Setting{"admin_socket", ""},
    // What would only be of use in a dump of the recent log costs time and memory.
    Setting{"log_max_recent", "1"},
    Setting{"debug_client", "0/0"},
    Setting{"debug_ms", "0/0"},
    Setting{"debug_monc", "0/0"},
    Setting{"debug_auth", "0/0"},
    Setting{"debug_objecter", "0/0"},
    Setting{"debug_objectcacher", "0/0"},
    Setting{"debug_timer", "0/0"},
    Setting{"debug_finisher", "0/0"},
    Setting{"debug_context", "0/0"},
    // One connection a daemon and one volume a process.
    Setting{"ms_async_op_threads", "1"},
};

constexpr int kHeapsMax = 2;

// What a mount is refused with while a session of our UUID lives, or for want of a right.
constexpr int kRefused = -EPERM;

ClientError Failed(int result, const std::string& what) {
  const int error_number = result < 0 ? -result : EIO;
  return {error_number, what + ": " + std::generic_category().message(error_number)};
}

}  // namespace

// A session that its client, before it died, had asked a slow MDS for can come up between our question
// for it and our mount; the second time it is found. A want of rights is the same both times.
tl::expected<std::shared_ptr<Client>, ClientError> Client::Mount(const DataPathOptions& options,
                                                                 std::string_view key,
                                                                 const std::string& uuid,
                                                                 const DataPathLog& log) {
  auto mounted = MountOnce(options, key, uuid, log);
  if (!mounted && mounted.error().error_number == EACCES)
    mounted = MountOnce(options, key, uuid, log);
  return mounted;
}

tl::expected<std::shared_ptr<Client>, ClientError> Client::MountOnce(const DataPathOptions& options,
                                                                     std::string_view key,
                                                                     const std::string& uuid,
                                                                     const DataPathLog& log) {
  ceph_mount_info* mount = nullptr;
  if (const int result = ceph_create(&mount, options.user.c_str()); result != 0)
    return tl::unexpected(Failed(result, "make a client of user " + options.user));
  struct Release {
    ceph_mount_info* mount;
    ~Release() {
      if (mount != nullptr) (void)ceph_release(mount);
    }
  } release{mount};
  const auto set = [mount](const char* name, const std::string& value) {
    return ceph_conf_set(mount, name, value.c_str());
  };
  // libcephfs has some twenty threads, most of which hardly ever allocate: not a heap for each.
  (void)mallopt(M_ARENA_MAX, kHeapsMax);
  // A setting that this release does not know changes nothing in it.
  for (const auto& [name, value] : kSettings) (void)ceph_conf_set(mount, name, value);
  const std::string timeout = std::to_string(kMountTimeout.count());
  (void)set("client_mount_timeout", timeout);
  (void)set("rados_mon_op_timeout", timeout);
  if (!options.client_mode.empty()) (void)set("ms_client_mode", options.client_mode);
  if (const int result = set("mon_host", options.monitors); result != 0)
    return tl::unexpected(Failed(result, "monitors \"" + options.monitors + "\""));
  std::string copy(key);
  const int key_set = set("key", copy);
  explicit_bzero(copy.data(), copy.size());
  if (key_set != 0) return tl::unexpected(Failed(key_set, "the key of user " + options.user));
  if (!options.filesystem.empty()) {
    if (const int result = ceph_select_filesystem(mount, options.filesystem.c_str()); result != 0)
      return tl::unexpected(Failed(result, "filesystem \"" + options.filesystem + "\""));
  }
  const std::string at = "monitors " + options.monitors;
  if (const int result = ceph_init(mount); result != 0)
    return tl::unexpected(Failed(result, "reach " + at + " as " + options.user));
  // Before the UUID is set, which would be refused otherwise. ENOENT: there is no predecessor. Any
  // other failure shows again, as EPERM from the mount, while its session lives.
  const int reclaimed = ceph_start_reclaim(mount, uuid.c_str(), CEPH_RECLAIM_RESET);
  if (reclaimed == 0) {
    log(GANTRY_LOG_INFO, "the session of an earlier client of this volume was ended");
  } else if (reclaimed != -ENOENT) {
    log(GANTRY_LOG_WARNING, Failed(reclaimed, "end an earlier client's session").what);
  }
  ceph_finish_reclaim(mount);
  ceph_set_uuid(mount, uuid.c_str());
  // An MDS finds no path within a snapshot; the client does (InSnapshot).
  const std::string top = options.path.substr(0, options.path.find(kSnapshotsPart));
  if (const int result = ceph_mount(mount, top.c_str()); result != 0) {
    int shown = result;
    // A predecessor's session that could not be ended now may be later.
    if (result == kRefused) shown = reclaimed == 0 || reclaimed == -ENOENT ? -EACCES : -EAGAIN;
    return tl::unexpected(Failed(shown, "mount " + options.path + " by " + at));
  }
  release.mount = nullptr;
  ReturnFreeMemory();
  return std::shared_ptr<Client>(new Client(mount));
}

Client::~Client() {
  ceph_mount_info* const mounted = mount_;
  if (mounted == nullptr) return;
  try {
    std::thread([mount = mounted] {
      (void)ceph_unmount(mount);
      (void)ceph_release(mount);
    }).detach();
  } catch (const std::system_error&) {
    // No thread: the session ends with the process, or is reclaimed.
  }
}

void ReturnFreeMemory() { (void)malloc_trim(0); }

void ReturnUnusedStack() {
  constexpr uintptr_t kPage = 4096;
  constexpr uintptr_t kKept = 64 * 1024;  // this frame and what it calls are far above
  constexpr uintptr_t kLooked = 4 << 20;
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void* lowest = nullptr;
  size_t bytes = 0;
  const bool is_known = pthread_attr_getstack(&attributes, &lowest, &bytes) == 0;
  (void)pthread_attr_destroy(&attributes);
  if (!is_known) return;
  const uintptr_t end = (here - kKept) & ~(kPage - 1);
  const uintptr_t begin = std::max(reinterpret_cast<uintptr_t>(lowest), end - kLooked);
  // What is not mapped of it is skipped, and told as an error that means nothing here.
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

void Client::Unmount() {
  ceph_mount_info* const mount = mount_.exchange(nullptr);
  if (mount == nullptr) return;
  (void)ceph_unmount(mount);
  (void)ceph_release(mount);
}

std::string SessionUuid(std::string_view owner, std::string_view node_id,
                        std::string_view volume_key) {
  std::string text;
  for (const auto part : {owner, node_id, volume_key}) text.append(part).push_back('\n');
  return "gantry-" + plugin::Sha256Hex(text).substr(0, 32);
}

}  // namespace gantry::cephfs
