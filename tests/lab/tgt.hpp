// SPDX-License-Identifier: Apache-2.0
// A real iSCSI target for the life of an object: a tgtd of its own, and tgtadm over its private
// control socket. The server is run by the tool beside this file (tests/lab/tgt), as lab::Ganesha
// is by its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "host/base/error.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::lab {

struct TgtOptions {
  std::filesystem::path directory =
      {};  // the server's own; empty: a temporary one, removed at the end
  std::vector<std::string> addresses = {"127.0.0.1"};  // a portal at each; IPv6 in brackets
  int threads = 4;                                     // for each LUN
};

// A LUN over a sparse file of the server's directory.
struct TgtLun {
  int tid = 1;
  int lun = 1;  // 0 is the controller
  uint64_t size_bytes = 64 << 20;
  std::string id = "c0ffee0000000001";  // scsi_id and scsi_sn. Of 16 hexadecimal digits tgtd makes
                                        // the end of the LUN's NAA name as well
  std::string file = {};                // "" is "<tid>-<lun>.img"; beneath luns()
  std::string type = "rdwr";            // tgtd's bstype; aio has no UNMAP and no WRITE SAME
  bool thin = true;                     // UNMAP; ignored by aio
  uint32_t block_bytes = 512;
};

// A running (or frozen, or killed) server, ended with everything it started by the destructor, and
// by itself when this process dies without one. tgtd forgets targets, LUNs, accounts and ACLs when
// it ends; files stay. Functions block until what they ask for has happened, at most kToolMsMax;
// errors carry the tool's own words. Not thread-safe.
class Tgt {
 public:
  static base::Result<Tgt> Start(TgtOptions options = {});
  Tgt(Tgt&&) noexcept;
  Tgt& operator=(Tgt&&) noexcept;
  ~Tgt();

  base::Status Freeze();   // SIGSTOP: connections stay, nothing answers
  base::Status Thaw();     // SIGCONT
  base::Status Kill();     // SIGKILL; Restart brings it back
  base::Status Restart();  // ends it if it runs; same ports, no targets, answering on return
  base::Status Stop();     // again is success

  base::Status NewTarget(int tid, const std::string& name);
  base::Status DeleteTarget(int tid);  // with LUNs, and its sessions are dropped
  // Makes the file when it is missing, never smaller than it is.
  base::Status NewLun(const TgtLun& lun);
  base::Status DeleteLun(int tid, int lun);
  // tgtd can't resize: the LUN is deleted and made again, with `lun.size_bytes`. It has to be idle.
  base::Status ResizeLun(const TgtLun& lun);
  // "readonly=1", "online=0": see tgtadm(8).
  base::Status SetLun(int tid, int lun, const std::string& parameters);
  // By initiator name; "ALL" for everybody. Without any ACL a target can't be seen.
  base::Status Allow(int tid, const std::string& initiator);
  base::Status Disallow(int tid, const std::string& initiator);
  base::Status NewAccount(const std::string& user, const std::string& password);
  base::Status BindAccount(int tid, const std::string& user, bool outgoing = false);
  base::Status BindDiscoveryAccount(const std::string& user);
  base::Result<std::string> Show();
  base::Result<std::string> ShowConnections(int tid);
  // Sessions of a target, and the end of all of them.
  base::Result<std::vector<int>> Sessions(int tid);
  base::Status DropConnections(int tid);
  // tgtadm with these arguments; its output.
  base::Result<std::string> Adm(const std::vector<std::string>& arguments);

  pid_t pid() const { return pid_; }  // 0 when it does not run
  uint16_t port() const { return port_; }
  const std::vector<std::string>& portals() const { return portals_; }  // "127.0.0.1:10001"
  const std::string& portal() const { return portals_.front(); }
  std::filesystem::path luns() const { return directory_ / "luns"; }
  std::filesystem::path file(const TgtLun& lun) const;
  std::filesystem::path management_socket() const { return directory_ / "socket.1"; }
  std::filesystem::path log() const { return directory_ / "tgtd.log"; }

 private:
  Tgt() = default;
  base::Status Run(const std::string& verb);
  base::Status AdmDone(const std::vector<std::string>& arguments);
  base::Status TakeFacts(const std::string& facts);

  std::unique_ptr<base::TempDir> temporary_;
  std::filesystem::path directory_;
  std::vector<std::string> portals_;
  pid_t pid_ = 0;
  uint16_t port_ = 0;
};

}  // namespace gantry::lab
