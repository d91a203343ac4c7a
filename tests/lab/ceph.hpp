// SPDX-License-Identifier: Apache-2.0
// A real Ceph cluster of one host for the life of an object: monitor, manager with the volumes module,
// OSD, MDS, and the filesystem "cephfs". The daemons are run by the tool beside this file
// (tests/lab/ceph), as lab::Ganesha is by its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::lab {

// The standby is a second MDS, which runs from its first Restart on.
enum class CephDaemon : uint8_t { kMon, kMgr, kOsd, kMds, kStandby };
std::string_view NameOf(CephDaemon daemon);

struct CephOptions {
  std::filesystem::path directory = {};  // its own; empty: a temporary one, removed at the end
  std::string address = "127.0.0.1";     // IPv4, of this machine; all daemons listen there
  uint64_t osd_bytes = uint64_t{2} << 30;
  bool keeps_data = false;  // of an OSD that is killed; 3 s more to start
  // How soon the MDS flushes its journal, which a create or a delete may wait for; Ceph's own is 5.
  std::string mds_tick_seconds = "0.2";
  std::string time_zone = {};  // the daemons' TZ, until they are restarted; empty: none
};

// A running (or frozen, or partly killed) cluster, ended by the destructor, and by itself when this
// process dies without one. Functions block until what they ask for has happened, at most
// kToolMsMax; errors carry the tool's own words. Not thread-safe.
class Ceph {
 public:
  static base::Result<Ceph> Start(CephOptions options = {});
  // One that somebody else started in that directory, and ends.
  static base::Result<Ceph> Adopt(std::filesystem::path directory);
  Ceph(Ceph&&) noexcept;
  Ceph& operator=(Ceph&&) noexcept;
  ~Ceph();

  base::Status Freeze(CephDaemon daemon);   // SIGSTOP: connections stay, nothing answers
  base::Status Thaw(CephDaemon daemon);     // SIGCONT
  base::Status Kill(CephDaemon daemon);     // SIGKILL; the OSD's data is gone unless kept
  base::Status Restart(CephDaemon daemon);  // ends it if it runs; serving on return
  base::Status Wait();                      // until all that run serve
  base::Status Stop();                      // again is success

  // ceph's command line with these arguments, as client.admin; its output. Half a second each.
  base::Result<std::string> Cli(const std::vector<std::string>& arguments);
  // A new entity with capabilities such as {"mds", "allow r"}; its key.
  base::Result<std::string> NewKey(const std::string& user,
                                   const std::vector<std::string>& capabilities);

  const std::string& monitor() const { return monitor_; }  // "127.0.0.1:10001", msgr2
  const std::string& fsid() const { return fsid_; }
  const std::string& filesystem() const { return filesystem_; }
  const std::string& admin_key() const { return admin_key_; }      // of client.admin
  pid_t pid(CephDaemon daemon) const { return pids_.at(daemon); }  // 0 when it does not run
  std::filesystem::path configuration() const { return directory_ / "ceph.conf"; }
  std::filesystem::path logs() const { return directory_ / "log"; }

 private:
  Ceph() = default;
  base::Status Run(const std::vector<std::string>& verb);
  base::Status TakeFacts(const std::string& facts);

  std::unique_ptr<base::TempDir> temporary_;
  std::filesystem::path directory_;
  bool adopted_ = false;
  std::string monitor_;
  std::string fsid_;
  std::string filesystem_;
  std::string admin_key_;
  std::map<CephDaemon, pid_t> pids_;
};

}  // namespace gantry::lab
