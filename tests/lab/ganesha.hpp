// SPDX-License-Identifier: Apache-2.0
// A real NFS server for the life of an object. The work is done by the tool beside this file
// (tests/lab/ganesha), so that tests, scripts and people run servers in one way; rejected: a
// second implementation in C++, which would drift.
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

struct GaneshaOptions {
  std::filesystem::path directory =
      {};  // the server's own; empty: a temporary one, removed at the end
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // NFS; mountd gets the next one. 0: free ones are chosen
  std::vector<std::string> exports = {"vol"};  // "vol": exported as /vol, backed by root("vol")
  std::string fsal = "VFS";                    // or "MEM"
  bool root_squash = false;
  bool privileged_port = false;  // insist on client ports below 1024
  bool v4_only = false;
};

// A running (or frozen, or killed) server, ended with everything it started by the destructor, and
// by itself when this process dies without one. Functions block until what they ask for has
// happened, at most kToolMsMax; errors carry the tool's own words. Not thread-safe.
class Ganesha {
 public:
  static base::Result<Ganesha> Start(GaneshaOptions options = {});
  Ganesha(Ganesha&&) noexcept;
  Ganesha& operator=(Ganesha&&) noexcept;
  ~Ganesha();

  base::Status Freeze();   // SIGSTOP: connections stay, nothing answers
  base::Status Thaw();     // SIGCONT
  base::Status Kill();     // SIGKILL; Restart brings it back
  base::Status Restart();  // ends it if it runs; same ports and exports, answering on return
  base::Status Stop();     // SIGTERM, SIGKILL after 3 s; again is success

  pid_t pid() const { return pid_; }  // 0 when it does not run
  uint16_t port() const { return port_; }
  uint16_t mount_port() const { return mount_port_; }  // 0 with v4_only
  std::string export_path() const { return "/" + exports_.front(); }
  // The directory behind an export, the first one by default.
  std::filesystem::path root() const { return root(exports_.front()); }
  std::filesystem::path root(const std::string& name) const { return directory_ / "root" / name; }
  std::filesystem::path log() const { return directory_ / "ganesha.log"; }

 private:
  Ganesha() = default;
  base::Status Run(const std::string& verb);
  base::Status TakeFacts(const std::string& facts);

  std::unique_ptr<base::TempDir> temporary_;
  std::filesystem::path directory_;
  std::vector<std::string> exports_;
  pid_t pid_ = 0;
  uint16_t port_ = 0;
  uint16_t mount_port_ = 0;
};

}  // namespace gantry::lab
